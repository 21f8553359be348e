"""Django's backend for PostgreSQL, with cheaper looks at connections and statements that are planned once.

Whether a pooled connection still lives is seen on its socket, not asked. Asking (CONN_HEALTH_CHECKS) costs every
request a round trip. A server that ended a connection, or died, has said so on the socket by then; one that
vanished without a word would leave the question unanswered as well.
"""

import select
from typing import Any, cast

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Gives out no connection of the pool that its server has ended."""

    def get_connection_params(self) -> dict[str, Any]:
        """Django's. Its own cursors bind on the client and never prepare; `prepared_cursor` does at once."""
        return {**super().get_connection_params(), "prepare_threshold": 0}

    def prepared_cursor(self) -> Any:
        """A cursor whose statements the server parses and plans once for each connection.

        For long SQL that comes again and again with other values; Django's own may not be typed well enough.
        """
        self.ensure_connection()
        cursor: Any = base.ServerBindingCursor
        django = cast("Any", self)
        return django._prepare_cursor(cursor(self.connection))  # noqa: SLF001 - as its own cursors are made

    def get_new_connection(self, conn_params: Any) -> Any:
        """One that lives. Raises PoolTimeout (an OperationalError) when none comes in time."""
        connection = super().get_new_connection(conn_params)
        while self.pool and (connection.closed or _has_ended(connection)):
            connection.close()
            self.pool.putconn(connection)  # which makes another in its place
            connection = super().get_new_connection(conn_params)
        return connection


def _has_ended(connection: Any) -> bool:
    """An idle connection has nothing to read but its end, or some word of its TLS: then it is asked."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return True
    return False
