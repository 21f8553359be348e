"""One's own order, limits and reservations with their services, estimates, and what operators are told."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from loraforge.accounts.models import User
from loraforge.core.errors import Conflict, Denied, Invalid
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_assign
from loraforge.instances.states import State
from loraforge.scheduling.facts import Booking, Reason, Running
from loraforge.scheduling.forecast import forecast
from loraforge.scheduling.models import CapScope, Reservation, RunCap
from loraforge.scheduling.policy import decide
from loraforge.scheduling.queueing import queue_move
from loraforge.scheduling.reserving import cap_save, reservation_cancel, reservation_create
from loraforge.scheduling.selectors import wait_text
from loraforge.scheduling.services import instances_place
from tests.control.conftest import ClientOf
from tests.control.scheduling.test_placing import queued
from tests.control.scheduling.test_policy import T0, place, reasons, run, situation, want
from tests.factories.accounts import UserFactory
from tests.factories.training import OnlineNodeFactory

NOW = T0 + timedelta(minutes=1)


def booking(owner: int, start_h: float, end_h: float, *devices: str) -> Booking:
    hours = [NOW + timedelta(hours=hour) for hour in (start_h, end_h)]
    return Booking(1, frozenset(devices), frozenset({owner}), *hours)


@pytest.mark.django_db
def test_oneself_is_told_the_limits_that_really_hold(alice: User, client_of: ClientOf) -> None:
    def told() -> Any:
        return client_of(alice).get("/api/v1/me/").json()["caps"]

    assert told() == {"max_running": 8, "max_running_per_user": 1}
    RunCap.objects.create(scope=CapScope.ALL, limit=20)
    RunCap.objects.create(scope=CapScope.EACH_USER, limit=3)
    assert told() == {"max_running": 20, "max_running_per_user": 3}
    RunCap.objects.create(scope=CapScope.USER, user=alice, limit=5)
    assert told()["max_running_per_user"] == 5


def test_what_is_reserved_takes_its_holder_and_whoever_ends_before() -> None:
    booked = place(1, free=2, bookings=(booking(7, 1, 3, "g1-0", "g1-1"),))
    decision = run([want(1), want(2, longest_s=1800)], [booked])
    assert [placed.id for placed in decision.placed] == [2]
    assert reasons(decision) == {1: Reason.BOOKED}
    now = place(1, free=2, bookings=(booking(7, -1, 3, "g1-1"),))
    decision = run([want(7), want(8, longest_s=60)], [place(2, free=1), now])
    assert [(one.id, one.devices) for one in decision.placed] == [(7, ("g1-1",)), (8, ("g1-0",))]
    far = place(1, free=1, bookings=(booking(7, 48, 50, "g1-0"),))
    assert run([want(1)], [far]).placed, "of unknown length, yet it is two days until then"
    assert not run([want(1, longest_s=50 * 3600)], [far]).placed


def test_starts_are_estimated_by_what_is_known_and_else_unknown() -> None:
    ends = [NOW + timedelta(minutes=10), None]
    running = tuple(Running(90 + n, 90 + n, 1, (f"g1-{n}",), end) for n, end in enumerate(ends))
    wants = [want(1, longest_s=3600), want(2), want(3), want(4, gpus=2)]
    facts = situation(wants, [place(1, free=0, busy=2)], running=running)
    found = forecast(situation=facts, decision=decide(facts))
    starts = {pk: (one.at, one.is_latest) for pk, one in found.items()}
    first = NOW + timedelta(minutes=10)
    assert starts == {1: (first, False), 2: (first + timedelta(hours=1), True)}


@pytest.mark.django_db
def test_own_jobs_are_put_in_order_and_a_later_one_comes_behind(alice: User, bob: User) -> None:
    first, second, third = queued(alice), queued(alice), queued(alice)
    queue_move(actor=alice, instance=third, move="first")
    queue_move(actor=alice, instance=first, move="down")
    fourth = queued(alice)
    rows = Instance.objects.filter(owner=alice).order_by("queue_rank", "queued_at")
    assert list(rows) == [third, second, first, fourth]
    with pytest.raises(Exception, match=r"[Nn]ot found|Only the owner"):
        queue_move(actor=bob, instance=first, move="first")
    OnlineNodeFactory.create(gpus=1)
    instances_place()
    third.refresh_from_db()
    assert third.state == State.ASSIGNED
    with pytest.raises(Conflict):
        queue_move(actor=alice, instance=third, move="up")


@pytest.mark.django_db
def test_reservations_do_not_overlap_and_are_told(alice: User, bob: User) -> None:
    operator = UserFactory.create(operator=True)
    node = OnlineNodeFactory.create(gpus=2)
    now = timezone.now()
    facts: dict[str, Any] = {"node": node, "user": bob, "reason": "course", "starts_at": now}
    one = f"GPU-{node.name}-0"
    with pytest.raises(Denied):
        reservation_create(actor=alice, ends_at=now + timedelta(hours=1), **facts)
    with pytest.raises(Invalid) as bad:
        reservation_create(actor=operator, ends_at=now, devices=["nope"], **facts)
    assert set(bad.value.fields) == {"ends_at", "devices"}
    kept = reservation_create(
        actor=operator, ends_at=now + timedelta(hours=2), devices=[one], **facts
    )
    for devices in ([], [one]):
        with pytest.raises(Conflict):
            reservation_create(
                actor=operator, ends_at=now + timedelta(hours=1), devices=devices, **facts
            )
    waiting = queued(alice, wanted_node=node, gpus=2)
    instances_place()
    waiting.refresh_from_db()
    assert waiting.wait_reason == "scheduling:booked"
    assert "Reserved for others" in wait_text(instance=waiting)
    reservation_cancel(actor=operator, reservation=kept)
    assert instances_place() == 1
    assert Reservation.objects.get().cancelled_at is not None


@pytest.mark.django_db
def test_a_limit_of_an_operator_holds_for_the_next_start(alice: User) -> None:
    operator = UserFactory.create(operator=True)
    OnlineNodeFactory.create(gpus=3)
    for _number in range(3):
        queued(alice)
    cap_save(actor=operator, cap=RunCap(scope="user", user=alice, limit=2))
    assert instances_place() == 2
    with pytest.raises(Invalid) as bad:
        cap_save(actor=operator, cap=RunCap(scope="group", kind="sftt", limit=2))
    assert set(bad.value.fields) == {"group", "kind"}


@pytest.mark.django_db
def test_the_api_moves_reserves_and_explains(alice: User, bob: User) -> None:
    node = OnlineNodeFactory.create(gpus=1)
    running = queued(bob)
    instance_assign(instance=running, node=node, devices=[f"GPU-{node.name}-0"])
    Instance.objects.filter(pk=running.pk).update(eta_s=600)
    first, second = queued(alice), queued(alice)
    mine, operators = APIClient(), APIClient()
    mine.force_authenticate(alice)
    operators.force_authenticate(UserFactory.create(operator=True))
    moved = mine.post(f"/api/v1/jobs/{second.pk}/move/", {"move": "up"}, format="json")
    assert (moved.status_code, moved.json()["queue_rank"]) == (200, -2)
    assert mine.get(f"/api/v1/jobs/{first.pk}/explain/").status_code == 403
    instances_place()
    told = operators.get(f"/api/v1/jobs/{second.pk}/explain/").json()
    assert told["reason"] == "scheduling:no_free_device"
    assert told["detail"]["position"] == 1
    assert [(one["node"], one["fits"], one["free"]) for one in told["nodes"]] == [
        (node.name, False, 0)
    ]
    assert {"scope": "user", "running": 0, "limit": 1}.items() <= told["caps"][0].items()
    second.refresh_from_db()
    assert "expected_at" in second.wait_detail
    first.refresh_from_db()
    assert "expected_at" not in first.wait_detail, "nobody knows how long the second takes"
    now = timezone.now()
    body = {
        "node": node.name, "user": bob.username, "reason": "exam",
        "starts_at": now.isoformat(), "ends_at": (now + timedelta(hours=1)).isoformat(),
    }  # fmt: skip
    made = operators.post("/api/v1/reservations/", body, format="json")
    assert made.status_code == 201, made.content
    [seen] = mine.get("/api/v1/reservations/").json()
    assert (seen["node"], seen["user"], seen["reason"]) == (node.name, None, "")
    gone = operators.delete(f"/api/v1/reservations/{made.json()['id']}/")
    assert (gone.status_code, mine.get("/api/v1/reservations/").json()) == (204, [])
