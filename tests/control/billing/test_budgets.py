"""Budgets: told once, new starts wait, and what runs is stopped only where the budget says so."""

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.billing.budgets import budget_states, budgets_blocking, budgets_review
from loraforge.billing.models import Budget
from loraforge.billing.services import budget_save, ledger_fill
from loraforge.billing.states import AtLimit, Level
from loraforge.instances.services import instance_queue
from loraforge.instances.states import State
from loraforge.notifications.models import Notification
from loraforge.scheduling.selectors import placement_preview, wait_text
from loraforge.scheduling.services import instances_place
from tests.control.billing.conftest import NOON, RanJob, instance_of, price_of
from tests.control.conftest import ClientOf
from tests.factories.training import JobInstanceFactory

pytestmark = pytest.mark.django_db


def budget(**changes: Any) -> Budget:
    made: Budget = Budget.objects.create(**changes)
    return made


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the middle of a month: what is told of this month must not depend on the day of the test."""
    monkeypatch.setattr(timezone, "now", lambda: NOON)


def just_now() -> dict[str, Any]:
    """An hour that is over."""
    return {"began": NOON - timedelta(hours=1), "seconds": 3600}


def test_used_up_budgets_keep_new_jobs_waiting_and_say_why(
    alice: User, bob: User, root: User, ran: RanJob
) -> None:
    price_of("100")
    mine = budget(user=alice, money=Decimal("10"), at_limit=AtLimit.BLOCK)
    ran(alice, **just_now())
    ledger_fill()
    waiting = instance_queue(actor=alice, instance=JobInstanceFactory.create(owner=alice))
    other = instance_queue(actor=bob, instance=JobInstanceFactory.create(owner=bob))
    assert instances_place() == 1
    waiting.refresh_from_db()
    other.refresh_from_db()
    assert (waiting.state, other.state) == (State.QUEUED, State.ASSIGNED)
    assert waiting.wait_reason == "scheduling:budget"
    assert "alice (10.00 CNY)" in wait_text(instance=waiting)
    assert placement_preview(user=alice).reason == "scheduling:budget"
    mine.money = Decimal("1000")
    budget_save(actor=root, budget=mine)
    assert instances_place() == 1


def test_a_warning_budget_blocks_nothing(alice: User, ran: RanJob) -> None:
    budget(user=alice, gpu_hours=Decimal("0.5"), at_limit=AtLimit.WARN)
    ran(alice, **just_now())
    ledger_fill()
    assert budgets_blocking(owners=[alice.pk]) == {}


def test_running_jobs_count_and_are_stopped_only_if_the_budget_says_so(
    alice: User, bob: User, ran: RanJob
) -> None:
    group = Group.objects.create(name="nlp")
    alice.groups.add(group)
    bob.groups.add(group)
    began = NOON - timedelta(minutes=40)
    attempt = ran(alice, began=began, seconds=None, gpus=2)
    shared = budget(group=group, gpu_hours=Decimal("1"), at_limit=AtLimit.BLOCK)
    assert set(budgets_blocking(owners=[alice.pk, bob.pk])) == {alice.pk, bob.pk}
    assert budgets_review() == 0
    assert instance_of(attempt).state == State.RUNNING
    shared.at_limit = AtLimit.STOP
    shared.save()
    assert budgets_review() == 1
    stopping = instance_of(attempt)
    attempt.refresh_from_db()
    assert (stopping.state, attempt.stop_requested) == (State.STOPPING, "save")
    assert attempt.stop_reason == "user:budget_used_up"
    assert budgets_review() == 0


def test_people_are_told_once_a_month_of_each_level(
    alice: User, bob: User, root: User, ran: RanJob
) -> None:
    mine = budget(user=alice, gpu_hours=Decimal("1.2"), at_limit=AtLimit.WARN)
    ran(alice, **just_now())
    ledger_fill()
    for _look in range(2):
        budgets_review()
    told = Notification.objects.filter(what__startswith="budget_")
    assert [(row.user, row.what, row.values["percent"]) for row in told] == [
        (alice, "budget_warning", 83)
    ]
    mine.gpu_hours = Decimal("1")
    budget_save(actor=root, budget=mine)
    budgets_review()
    assert {row.what for row in told.all()} == {"budget_warning", "budget_full"}


def test_states_of_many_budgets_take_as_many_queries_as_of_one(
    alice: User, bob: User, ran: RanJob, client_of: ClientOf
) -> None:
    price_of("10")
    ran(alice, **just_now())
    ledger_fill()

    def queries() -> int:
        with CaptureQueriesContext(connection) as found:
            states = budget_states(Budget.objects.select_related("user", "group"))
        assert {state.level for state in states} <= set(Level)
        return len(found)

    budget(user=alice, money=Decimal(100))
    group = Group.objects.create(name="nlp")
    budget(group=group, money=Decimal(100))
    alice.groups.add(group)
    few = queries()
    budget(user=bob, money=Decimal(1))
    budget(group=Group.objects.create(name="cv"), gpu_hours=Decimal(3))
    assert queries() == few
    rows = client_of(alice).get("/api/v1/usage/budgets/").json()
    assert [(row["of"], row["used_money"], row["percent"]) for row in rows] == [
        ("alice", "10.00", 10),
        ("nlp", "0.00", 0),  # joined after that line was written
    ]


def test_without_a_budget_the_queue_pays_one_query(
    alice: User, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(1):
        assert budgets_blocking(owners=[alice.pk]) == {}
