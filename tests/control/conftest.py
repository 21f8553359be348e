"""People and clients for the tests of the control plane."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from loraforge.accounts.models import Role, User
from tests.factories.accounts import UserFactory

# What only PostgreSQL shows; tests/control/test_on_postgres.py runs this folder there.
is_postgres = connection.vendor == "postgresql"
collect_ignore = [] if is_postgres else ["postgres"]

LEDGER_GUARD = "billing_never_deleted"
ClientOf = Callable[[User | None], APIClient]


@pytest.fixture(scope="session", autouse=True)
def _tables_can_be_emptied() -> Iterator[None]:
    """After a test with real transactions: SQLite's way is DELETE, which the ledger's guard refuses there.

    PostgreSQL's is TRUNCATE, of which a guard of rows hears nothing.
    """
    if is_postgres:
        yield
        return
    operations = type(connection.ops)
    plain = operations.sql_flush

    def without_guard(self: Any, style: Any, tables: Any, **how: Any) -> list[str]:
        with self.connection.cursor() as cursor:
            cursor.execute("SELECT sql FROM sqlite_master WHERE name = %s", [LEDGER_GUARD])
            found = cursor.fetchone()
        deletes = plain(self, style, tables, **how)
        return [f"DROP TRIGGER {LEDGER_GUARD}", *deletes, found[0]] if found else deletes

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "sql_flush", without_guard)
        yield


@pytest.fixture
def client_of() -> ClientOf:
    """An API client that is signed in as this user; None = nobody."""

    def make(user: User | None) -> APIClient:
        client = APIClient()
        if user is not None:
            client.force_authenticate(user)
        return client

    return make


@pytest.fixture
def alice(db: None) -> User:
    """A researcher."""
    user: User = UserFactory.create(username="alice")
    return user


@pytest.fixture
def bob(db: None) -> User:
    """Another researcher."""
    user: User = UserFactory.create(username="bob")
    return user


@pytest.fixture
def olga(db: None) -> User:
    """An operator."""
    user: User = UserFactory.create(username="olga", role=Role.OPERATOR, is_staff=True)
    return user


@pytest.fixture
def vera(db: None) -> User:
    """A viewer."""
    user: User = UserFactory.create(username="vera", role=Role.VIEWER)
    return user


def error_of(response: Any) -> dict[str, Any]:
    """The error of an API answer."""
    error: dict[str, Any] = response.json()["error"]
    return error
