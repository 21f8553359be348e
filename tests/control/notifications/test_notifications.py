"""What a user is told about own jobs, and in which language."""

from typing import TYPE_CHECKING

import pytest
from django.utils.translation import override

from loraforge.accounts.models import User
from loraforge.core import events
from loraforge.core.models import OutboxMessage
from loraforge.instances.models import Attempt, InstanceEvent
from loraforge.notifications.models import Notification
from loraforge.notifications.services import TOLD
from loraforge.notifications.texts import TITLES, body_of
from tests.control.conftest import ClientOf
from tests.factories.telemetry import AttemptFactory

if TYPE_CHECKING:
    from rest_framework.test import APIClient

pytestmark = pytest.mark.django_db


@pytest.fixture
def attempt(alice: User) -> Attempt:
    row: Attempt = AttemptFactory.create(instance__owner=alice, instance__name="faq")
    return row


def move(attempt: Attempt, source: str, target: str) -> None:
    event = InstanceEvent.objects.create(
        instance=attempt.instance, attempt=attempt.number, source=source, target=target
    )
    events.emit(events.INSTANCE_MOVED, instance=attempt.instance, event=event)


@pytest.mark.parametrize("target", sorted(TOLD))
def test_the_owner_is_told_once_by_row_and_by_frame(
    attempt: Attempt, alice: User, target: str
) -> None:
    move(attempt, "assigned", "queued" if target == "retried" else target)
    row = Notification.objects.get()
    assert (row.user, row.what, row.instance) == (alice, target, attempt.instance)
    frames = OutboxMessage.objects.filter(kind="frame", target=f"user:{alice.pk}")
    notice = frames.get(payload__type="notice").payload
    assert (notice["id"], notice["what"], notice["url"]) == (
        row.pk,
        target,
        f"/jobs/{attempt.instance_id}/",
    )
    assert "faq" in notice["body"]
    assert notice["title"] == TITLES[target]
    assert frames.filter(payload__type="train_status").count() == 1


@pytest.mark.parametrize(
    ("source", "target"),
    [("unknown", "running"), ("draft", "queued"), ("queued", "assigned"), ("running", "unknown")],
)
def test_small_moves_tell_nothing(attempt: Attempt, source: str, target: str) -> None:
    move(attempt, source, target)
    assert not Notification.objects.exists()


def test_the_text_is_made_for_the_reader() -> None:
    values = {"number": 41, "name": "100% faq %s", "saved_step": 20}
    assert body_of("stopped", values) == "#41 100% faq %s was stopped; step 20 is saved."
    assert body_of("stopped", {**values, "saved_step": None}).endswith("without saving.")
    with override("zh-hans"):
        assert "41" in body_of("failed", values)


def test_reading_one_and_all(attempt: Attempt, alice: User, client_of: ClientOf) -> None:
    for target in ("running", "failed", "lost"):
        move(attempt, "assigned", target)
    client: APIClient = client_of(alice)
    rows = client.get("/api/v1/notifications/").json()["results"]
    assert [row["what"] for row in rows] == ["lost", "failed", "running"]
    assert client.post(f"/api/v1/notifications/{rows[0]['id']}/read/").json()["read_at"]
    unread = client.get("/api/v1/notifications/?unread=true").json()["results"]
    assert [row["what"] for row in unread] == ["failed", "running"]
    assert client.post("/api/v1/notifications/read-all/").json() == {"read": 2}
    assert not client.get("/api/v1/notifications/?unread=true").json()["results"]


def test_others_have_none_of_it(attempt: Attempt, olga: User, client_of: ClientOf) -> None:
    move(attempt, "assigned", "running")
    row = Notification.objects.get()
    client = client_of(olga)
    assert client.get("/api/v1/notifications/").json()["results"] == []
    assert client.post(f"/api/v1/notifications/{row.pk}/read/").status_code == 404
    assert client_of(None).get("/api/v1/notifications/").status_code == 401
