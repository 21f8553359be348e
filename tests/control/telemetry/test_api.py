"""Logs, metrics and readings by the API."""

import pytest

from loraforge.accounts.models import User
from loraforge.instances.models import Attempt
from loraforge.telemetry import services
from tests.control.conftest import ClientOf, error_of
from tests.factories.telemetry import AttemptFactory

pytestmark = pytest.mark.django_db

METRIC = b'{"loss": 1.5, "global_step/max_steps": "1/2"}\n{"loss": NaN, "global_step/max_steps": "2/2"}\n'


@pytest.fixture
def attempt(alice: User) -> Attempt:
    row: Attempt = AttemptFactory.create(instance__owner=alice)
    log = b"one\ntwo\nthree\n 5%\r 9%"
    services.chunk_store(attempt=row, stream="log", start=0, end=len(log), data=log)
    services.chunk_store(attempt=row, stream="metric", start=0, end=len(METRIC), data=METRIC)
    return row


def url(attempt: Attempt, rest: str) -> str:
    return f"/api/v1/jobs/{attempt.instance_id}/{rest}"


def test_the_log_forwards_and_backwards(attempt: Attempt, alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    first = client.get(url(attempt, "log/?limit=2")).json()
    assert first == {
        "attempt": 1, "from": 0, "to": 8, "lines": ["one", "two"], "partial": "", "left_out": 0,
        "next": "1:8", "more": True,
    }  # fmt: skip
    rest = client.get(url(attempt, f"log/?after={first['next']}")).json()
    assert (rest["lines"], rest["partial"], rest["more"]) == (["three"], " 9%", False)
    tail = client.get(url(attempt, "log/?tail=1")).json()
    assert (tail["lines"], tail["partial"], tail["from"], tail["more"]) == (
        ["three"],
        " 9%",
        8,
        True,
    )
    before = client.get(url(attempt, "log/?tail=9&before=1:8")).json()
    assert (before["lines"], before["more"]) == (["one", "two"], False)


def test_metrics_as_rows_and_as_series(attempt: Attempt, alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    page = client.get(url(attempt, "metrics/?limit=1")).json()
    assert page["more"] is True
    assert page["rows"][0]["values"]["loss"] == 1.5
    page = client.get(url(attempt, f"metrics/?after={page['next']}")).json()
    assert [(row["step"], row["values"]["loss"]) for row in page["rows"]] == [(2, None)]
    chart = client.get(url(attempt, "metrics/?points=100")).json()
    assert chart == {"series": {"loss": [[1, 1.5]]}, "next": f"1:{len(METRIC)}", "more": False}


@pytest.mark.parametrize(
    "query", ["log/?after=x", "metrics/?after=x", "log/?tail=0", "log/?limit=999999"]
)
def test_nonsense_is_refused(
    attempt: Attempt, alice: User, client_of: ClientOf, query: str
) -> None:
    answer = client_of(alice).get(url(attempt, query))
    assert answer.status_code == 400
    assert error_of(answer)["fields"]


@pytest.mark.parametrize("rest", ["log/", "metrics/", "samples/", "log/download/", "log/stream/"])
def test_own_jobs_only(
    attempt: Attempt, bob: User, olga: User, client_of: ClientOf, rest: str
) -> None:
    assert client_of(bob).get(url(attempt, rest)).status_code == 404
    assert client_of(None).get(url(attempt, rest)).status_code == 401
    assert client_of(olga).get(url(attempt, rest)).status_code == 200
    assert client_of(olga).get(f"/api/v1/jobs/999999/{rest}").status_code == 404
