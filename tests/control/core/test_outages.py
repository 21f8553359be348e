"""What a database or a Redis that is away means to a request and to a task."""

import logging
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import OperationalError
from django.test import Client, RequestFactory
from kombu.exceptions import OperationalError as BrokerError

from loraforge.accounts.models import User
from loraforge.core import celery
from loraforge.core.errorpages import server_error
from loraforge.core.errors import Unavailable
from loraforge.core.models import OutboxMessage
from tests.control.conftest import ClientOf, error_of

AWAY = OperationalError("connection refused")


def away(*_args: Any, **_kwargs: Any) -> None:
    raise AWAY


def refused(*_args: Any, **_kwargs: Any) -> None:
    raise BrokerError("Connection refused")


def test_an_api_request_that_meets_an_outage_is_told_so(
    client_of: ClientOf, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("loraforge.training.selectors.job_list", away)
    answer = client_of(alice).get("/api/v1/jobs/1/")
    assert (answer.status_code, error_of(answer)["id"]) == (503, "core:database_away")


def test_a_page_that_meets_an_outage_says_so(
    client: Client, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.force_login(alice)
    monkeypatch.setattr("loraforge.dashboard.views.HomePage.get", away)
    assert client.get("/").status_code == 503


def test_an_outage_that_a_middleware_meets_is_no_500() -> None:
    """Django asks for the page of an unexpected error while it handles it."""
    request = RequestFactory().get("/api/v1/jobs/")
    request.user = AnonymousUser()
    try:
        away()
    except OperationalError:
        assert server_error(request).status_code == 503
    try:
        raise ValueError("a fault of ours")
    except ValueError:
        assert server_error(request).status_code == 500


@pytest.mark.django_db
def test_a_task_that_meets_an_outage_comes_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sent: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(
        celery.app, "send_task", lambda name, kwargs, **_more: sent.append((name, kwargs))
    )
    errors: list[Exception] = [AWAY, Unavailable("nodelink:no_broker", "away")]

    @celery.control_task("tests.outage")
    def outage_task(*, number: int) -> None:
        raise errors[number]

    with caplog.at_level(logging.WARNING):
        outage_task(number=0)
        outage_task(number=1)
    later = [("tests.outage", {"number": 0}), ("tests.outage", {"number": 1})]
    assert sent == later, "in some seconds, as long as Redis takes it"
    assert not OutboxMessage.objects.exists(), "that would come again at once, for ever"
    monkeypatch.setattr(celery.app, "send_task", refused)
    with caplog.at_level(logging.WARNING):
        outage_task(number=1)
    kept = OutboxMessage.objects.get(target="tests.outage")
    assert (kept.kind, kept.queue, kept.payload) == ("task", "control", {"number": 1})
    assert [record.exc_info for record in caplog.records] == [None] * 3, "one line, no traceback"


@pytest.mark.django_db
def test_a_periodic_task_that_meets_an_outage_waits_for_its_next_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(celery.app, "send_task", away)

    @celery.control_task("tests.periodic")
    def periodic_task() -> None:
        raise AWAY

    periodic_task()
    assert not OutboxMessage.objects.exists()
