"""The page of the queue: places, reasons and what goes before; what operators see and others may not."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from loraforge.accounts.models import Role, User
from loraforge.dashboard.queue import own_places
from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.scheduling.models import Reservation
from loraforge.scheduling.queueing import queue_move
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> User:
    return UserFactory.create(username="alice", role=Role.RESEARCHER)  # type: ignore[no-any-return]


@pytest.fixture
def carol() -> User:
    return UserFactory.create(username="carol", role=Role.OPERATOR, is_staff=True)  # type: ignore[no-any-return]


def waiting(owner: User, name: str, position: int, **given: Any) -> Instance:
    detail = {"position": position, "needed": 1, "free": 0, **given.pop("detail", {})}
    job = JobFactory.create(
        owner=owner, state=State.QUEUED, instance__name=name, instance__queued_at=timezone.now(),
        instance__wait_reason="scheduling:no_free_device", instance__wait_detail=detail,
        **{f"instance__{key}": value for key, value in given.items()},
    )  # fmt: skip
    return job.instance  # type: ignore[no-any-return]


def shown(user: User, address: str = "/queue/", **headers: str) -> str:
    client = Client()
    client.force_login(user)
    answer = client.get(address, headers=headers)
    assert answer.status_code == 200
    return answer.content.decode()


def test_ones_own_jobs_stand_in_their_order_with_reason_start_and_what_goes_before(
    alice: User,
) -> None:
    at = timezone.now() + timedelta(hours=2)
    start = {"expected_at": at.isoformat(), "expected_latest": True}
    waiting(UserFactory.create(username="bob"), "secret-plan", 1)
    waiting(alice, "the-second", 12)
    waiting(alice, "the-first", 2, detail=start)
    html = shown(alice)
    assert html.index("the-first") < html.index("the-second"), "2 goes before 12"
    assert "secret-plan" not in html
    assert "Waits for free devices: 1 needed on one node, 0 free now." in html
    assert at.isoformat() in html
    assert "at the latest" in html
    assert "0 of mine, 1 of others" in html
    assert "1 of mine, 10 of others" in html
    assert 'data-move="first"' in html
    assert "data-explain" not in html
    assert "data-class" not in html
    assert "data-reserve" not in html


def test_the_first_goes_no_further_up_and_classes_do_not_mix(alice: User) -> None:
    first, second = waiting(alice, "one", 1), waiting(alice, "two", 2)
    urgent = waiting(alice, "three", 3, priority=50)
    queue_move(actor=alice, instance=second, move="first")
    places = own_places(user=alice)
    assert (places[second.pk].is_first, places[second.pk].is_last) == (True, False)
    assert (places[first.pk].is_first, places[first.pk].is_last) == (False, True)
    assert (places[urgent.pk].is_first, places[urgent.pk].is_last) == (True, True)
    assert [places[one.pk].ahead for one in (first, second, urgent)] == [0, 1, 2]


def test_operators_see_all_with_class_and_explanation(alice: User, carol: User) -> None:
    node = OnlineNodeFactory.create(gpus=2)
    theirs = waiting(alice, "of-alice", 1, priority=50)
    html = shown(carol)
    assert "of-alice" in html
    assert '<option value="50" selected>Urgent</option>' in html
    assert 'data-move="first"' not in html, "the order of others is theirs"
    assert "of-alice" not in shown(carol, "/queue/?mine=1")
    part = shown(carol, f"/queue/{theirs.pk}/explain/")
    assert node.name in part
    assert "Everybody together" in part
    Instance.objects.filter(pk=theirs.pk).update(state=State.DRAFT)
    client = Client()
    client.force_login(carol)
    assert client.get(f"/queue/{theirs.pk}/explain/").status_code == 404


def test_whose_reservation_it_is_and_what_runs_is_told_to_whom_it_concerns(
    alice: User, carol: User
) -> None:
    node = OnlineNodeFactory.create(gpus=2)
    now = timezone.now()
    device = node.devices.order_by("index").last()
    Reservation.objects.create(
        node=node, devices=[device.uuid], user=carol, reason="a visit", starts_at=now, ends_at=now + timedelta(hours=1),
    )  # fmt: skip
    JobFactory.create(
        owner=carol, state=State.RUNNING, instance__name="carols-run", instance__node=node, instance__eta_s=7200,
        instance__attempt=1,
    )  # fmt: skip
    html = shown(alice)
    assert node.name in html
    assert f"{device.get_kind_display()} {device.index}" in html
    assert "Somebody else&#x27;s job" in html or "Somebody else's job" in html
    assert "2 h 0 min left" in html
    for word in ("a visit", "carols-run", "data-end"):
        assert word not in html
    html = shown(carol)
    for word in ("a visit", "carols-run", "data-end"):
        assert word in html


def test_the_part_alone_is_answered_to_who_has_it_already(alice: User) -> None:
    waiting(alice, "one", 1)
    html = shown(alice)
    version = html.split('LF-Version": "')[1].split('"')[0]
    client = Client()
    client.force_login(alice)
    headers = {"HX-Request": "true", "LF-Version": version}
    assert client.get("/queue/", headers=headers).status_code == 204
    waiting(alice, "two", 2)
    assert "two" in shown(alice, **headers)
