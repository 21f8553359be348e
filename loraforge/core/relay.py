"""Publishes the outbox: what was committed leaves for Redis, in order, at least once.

The request thread never talks to Redis; this one does. It is woken by `PRAGMA data_version` on SQLite
(read every 5 ms, about 1 % of a core) and by NOTIFY on PostgreSQL. While Redis is away the rows stay
where they are. Two relays do no harm: on SQLite one works and the other stands by (a file lock), on
PostgreSQL they skip each other's rows.
"""

import fcntl
import logging
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import IO, Any, Protocol

import redis
from django.db import DatabaseError, close_old_connections, connection, transaction
from kombu.exceptions import OperationalError as BrokerError

from loraforge.core import live, pulse
from loraforge.core.celery import app
from loraforge.core.models import OutboxMessage
from loraforge.core.outage import Outage
from loraforge.core.outbox import NOTIFY_CHANNEL
from loraforge.core.redis import connection as redis_connection

log = logging.getLogger(__name__)

BATCH = 200
POLL_S = 0.005
# Also without a sign: what a broken Redis left behind, and a sign that was missed.
LOOK_EVERY_S = 1.0


class Alarm(Protocol):
    """Tells that something may have been committed."""

    def wait(self, timeout_s: float) -> None:
        """Return early when somebody committed."""

    def close(self) -> None:
        """Give back what it holds."""


class SqliteAlarm:
    """`PRAGMA data_version` changes when another connection commits, to whatever table."""

    def __init__(self, path: str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._seen = self._version()

    def _version(self) -> int:
        row = self._connection.execute("PRAGMA data_version").fetchone()
        return int(row[0])

    def wait(self, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while (version := self._version()) == self._seen and time.monotonic() < until:
            time.sleep(POLL_S)
        self._seen = version

    def close(self) -> None:
        self._connection.close()


class PostgresAlarm:
    """LISTEN on a connection of its own; `core.outbox` notifies inside the transaction."""

    def __init__(self) -> None:
        wrapper: Any = connection  # the PostgreSQL one, which has what follows
        parameters = wrapper.get_connection_params()
        for name in ("pool", "cursor_factory", "context", "server_side_binding"):
            parameters.pop(name, None)
        self._connection = wrapper.Database.connect(**parameters, autocommit=True)
        self._connection.execute(f"LISTEN {NOTIFY_CHANNEL}")

    def wait(self, timeout_s: float) -> None:
        for _sign in self._connection.notifies(timeout=timeout_s, stop_after=1):
            return

    def close(self) -> None:
        self._connection.close()


def alarm_make() -> Alarm:
    """The alarm of this installation's database."""
    if connection.vendor == "postgresql":
        return PostgresAlarm()
    return SqliteAlarm(str(connection.settings_dict["NAME"]))


def _publish(messages: Iterable[OutboxMessage], sent: list[int]) -> None:
    """Send in order; ``sent`` gets each id once it is out. Raises what Redis or the broker raises."""
    for kind, group in groupby(messages, key=lambda message: message.kind):
        if kind == OutboxMessage.Kind.FRAME:
            frames = list(group)
            live.publish(redis_connection(), [(frame.target, frame.payload) for frame in frames])
            sent.extend(frame.pk for frame in frames)
            continue
        for task in group:
            app.send_task(task.target, kwargs=task.payload, queue=task.queue, retry=False)
            sent.append(task.pk)


def _send_and_delete(messages: list[OutboxMessage]) -> int:
    sent: list[int] = []
    try:
        _publish(messages, sent)
    finally:
        if sent:
            OutboxMessage.objects.filter(pk__in=sent).delete()
    return len(sent)


def outbox_drain() -> int:
    """Publish what is there now, at most one batch; returns how many left.

    PostgreSQL: rows are locked meanwhile, and those that another relay holds are skipped. SQLite: no
    transaction is open while Redis is spoken to, since that would be the only writer of all.
    """
    if connection.vendor != "postgresql":
        return _send_and_delete(list(OutboxMessage.objects.order_by("id")[:BATCH]))
    with transaction.atomic():
        rows = OutboxMessage.objects.select_for_update(skip_locked=True).order_by("id")[:BATCH]
        return _send_and_delete(list(rows))


@contextmanager
def _only_one(stopping: threading.Event) -> Iterator[bool]:
    """On SQLite: hold the lock file beside the database; False when stopped before it was free."""
    if connection.vendor == "postgresql":
        yield True
        return
    with Path(f"{connection.settings_dict['NAME']}.relay").open("w", encoding="ascii") as file:
        yield _lock(file, stopping)


def _lock(file: IO[str], stopping: threading.Event) -> bool:
    while not stopping.is_set():
        pulse.turn("relay")  # standing by is work too
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stopping.wait(1.0)
        else:
            return True
    return False


class Relay:
    """One thread's work: `run` until ``stopping`` is set."""

    def __init__(self, stopping: threading.Event) -> None:
        self._stopping = stopping
        self._outage = Outage(log=log, resumed="the outbox is published again", stopping=stopping)

    def run(self) -> None:
        """Publish for ever. Outages of Redis and of the database are waited out."""
        with _only_one(self._stopping) as mine:
            alarm: Alarm | None = None
            while mine and not self._stopping.is_set():
                alarm = self._turn(alarm)
            if alarm is not None:
                alarm.close()
        connection.close()

    def _turn(self, alarm: Alarm | None) -> Alarm | None:
        pulse.turn("relay")
        try:
            alarm = alarm or alarm_make()
            if outbox_drain() < BATCH:
                alarm.wait(LOOK_EVERY_S)
        except (redis.RedisError, BrokerError, OSError) as error:
            self._outage.wait("the outbox waits, Redis does not answer", error)
        except (DatabaseError, sqlite3.Error, _database_error()) as error:
            self._outage.wait("the outbox waits, the database does not answer", error)
            close_old_connections()
            return None
        else:
            self._outage.over()
        return alarm


def _database_error() -> type[Exception]:
    """The driver's own error: the alarm's connection is not Django's, so nothing translates it."""
    wrapper: Any = connection
    error: Any = wrapper.Database.Error
    return error if isinstance(error, type) and issubclass(error, Exception) else DatabaseError
