"""People and clients for the tests of the control plane."""

from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings
from rest_framework.test import APIClient

from loraforge.accounts.models import Role, User
from tests.factories.accounts import UserFactory

# What only PostgreSQL shows; tests/control/test_on_postgres.py runs this folder there.
is_postgres = settings.DATABASES["default"]["ENGINE"].endswith("postgresql")
collect_ignore = [] if is_postgres else ["postgres"]

ClientOf = Callable[[User | None], APIClient]


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
