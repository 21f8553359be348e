"""Whose turn it is: fair between owners, and nobody waits for ever."""

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loraforge.instances.priorities import PriorityClass, priority_class
from loraforge.scheduling.facts import Aging, CapRule, Caps, Reason, Running, Scope, Want
from tests.control.scheduling.test_policy import T0, place, place_of_four, reasons, run, want

A, B, C = 1, 2, 3


def order(wants: list[Want], **more: Any) -> list[int]:
    """Ids in the order of the queue, with no device free."""
    return [wait.id for wait in run(wants, [place(1, free=0, busy=8)], **more).waits]


def test_one_job_of_somebody_else_goes_before_the_twenty_of_who_runs_one() -> None:
    many = [want(number, owner=A) for number in range(20)]
    running = (Running(900, A, 1, ("g1-1",)),)
    decision = run([*many, want(99, owner=B)], [place(1, free=1, busy=7)], running=running)
    assert [placed.id for placed in decision.placed] == [99]
    assert order([*many, want(99, owner=B)], running=running)[0] == 99


def test_owners_take_turns_by_the_devices_they_use() -> None:
    wants = [
        want(1, owner=A),
        want(2, owner=A),
        want(3, owner=A),
        want(4, owner=B),
        want(5, owner=B),
    ]
    assert order(wants) == [1, 4, 2, 5, 3]
    large = [want(1, owner=A, gpus=4), want(2, owner=A), want(3, owner=B), want(4, owner=B)]
    assert order(large) == [1, 3, 4, 2]


def test_a_class_goes_before_fairness_and_its_numbers_are_the_same() -> None:
    running = (Running(900, A, 1, ("g1-1",)),)
    wants = [want(1, owner=B), want(2, owner=A, priority=10), want(3, owner=B, priority=-10)]
    assert order([*wants, want(4, owner=A, priority=60)], running=running) == [4, 2, 1, 3]
    assert order([want(1, priority=1), want(2, priority=40)]) == [1, 2]
    assert [priority_class(one.number) for one in PriorityClass] == list(PriorityClass)


def test_the_own_order_counts_among_the_own_only() -> None:
    wants = [
        want(1, owner=A),
        want(2, owner=A, rank=-1),
        want(3, owner=B),
        want(4, owner=C, rank=9),
    ]
    assert order(wants) == [2, 3, 4, 1]


def test_who_has_waited_for_a_day_goes_first_but_once() -> None:
    now = T0 + timedelta(days=2)
    fresh = {"queued_at": now - timedelta(minutes=1)}
    old = [want(number, owner=A) for number in range(3)]
    running = (Running(900, A, 1, ("g1-1",)),)
    wants = [*old, want(9, owner=B, priority=50, **fresh)]
    assert order(wants, now=now, running=running) == [0, 9, 1, 2]
    started = Aging(last_started={(A, PriorityClass.NORMAL): now - timedelta(hours=1)})
    assert order(wants, now=now, running=running, aging=started) == [9, 0, 1, 2]


def test_a_job_that_nothing_helps_takes_no_turn_of_its_owner() -> None:
    closed = place(2, free=1, takes=False)
    wants = [want(1, owner=A, node=2), want(2, owner=A), want(3, owner=B)]
    decision = run(wants, [place(1, free=1), closed])
    assert [placed.id for placed in decision.placed] == [2]
    assert reasons(decision) == {1: Reason.NODE_OFFLINE, 3: Reason.NO_FREE_DEVICE}


def test_caps_of_a_group_and_of_a_kind() -> None:
    rules = (
        CapRule(Scope.GROUP, 1, "lab"),
        CapRule(Scope.ALL, 1, kind="rlhf"),
        CapRule(Scope.USER, 0, C),
        CapRule(Scope.EACH_USER, 1, kind="pt"),
    )
    caps = Caps(total=9, per_owner=9, rules=rules)
    wants = [
        want(1, owner=A, groups=("lab",)), want(2, owner=B, groups=("lab",)), want(3, owner=C),
        want(4, owner=4, kinds=("job", "rlhf")), want(5, owner=5, kinds=("job", "rlhf")),
        want(6, owner=6, kinds=("pt",)), want(7, owner=6, kinds=("pt",)), want(8, owner=7, kinds=("pt",)),
    ]  # fmt: skip
    decision = run(wants, [place(1, free=8)], caps)
    assert [placed.id for placed in decision.placed] == [1, 4, 6, 8]
    waits = {wait.id: wait for wait in decision.waits}
    assert {pk: wait.reason for pk, wait in waits.items()} == {
        2: Reason.GROUP_CAP, 3: Reason.USER_CAP, 5: Reason.KIND_CAP, 7: Reason.USER_CAP,
    }  # fmt: skip
    assert waits[2].detail == {"running": 1, "cap": 1, "group": "lab", "position": 1}
    assert waits[5].detail["kind"] == "rlhf"


def test_a_rule_is_nearer_than_a_setting() -> None:
    rules = (CapRule(Scope.USER, 2, A), CapRule(Scope.ALL, 3))
    wants = [want(number, owner=owner) for number, owner in enumerate([A, A, A, B, B, C])]
    decision = run(wants, [place(1, free=8)], Caps(total=1, per_owner=1, rules=rules))
    assert len(decision.placed) == 3
    assert sum(wants[placed.id].owner == A for placed in decision.placed) <= 2


@settings(max_examples=12, deadline=None)
@given(
    jobs=st.lists(
        st.tuples(st.integers(1, 4), st.integers(0, 2), st.sampled_from([-10, 0, 10])),
        min_size=1,
        max_size=8,
        unique_by=lambda job: job[1:],
    ),
    lengths=st.lists(st.integers(1, 5), min_size=10, max_size=10),
    cap=st.integers(1, 4),
)
def test_nobody_starves_whoever_else_comes(
    jobs: list[tuple[int, int, int]], lengths: list[int], cap: int
) -> None:
    """Two nodes of 4. Each round two new people, who use nothing, submit urgent jobs; an hour a round.

    That is twice what the nodes can do, and these jobs grow old too: how long one waits grows with the queue, so a
    bound holds for the first of each owner and class alone.
    """
    waiting = [want(n, gpus=gpus, owner=own, priority=p) for n, (gpus, own, p) in enumerate(jobs)]
    first = {one.id for one in waiting}
    running: dict[int, tuple[int, Running]] = {}  # id -> ends at, what
    started: dict[tuple[int, PriorityClass], Any] = {}
    by_id = {one.id: one for one in waiting}
    for tick in range(24 * 12):
        now = T0 + timedelta(hours=tick)
        for number in range(2):
            fresh = 1000 + tick * 2 + number
            new = want(fresh, gpus=1 + fresh % 4, owner=fresh, priority=50, queued_at=now)
            waiting.append(new)
            by_id[fresh] = new
        running = {pk: one for pk, one in running.items() if one[0] > tick}
        held = {(one.node or 0, uuid) for _end, one in running.values() for uuid in one.devices}
        decision = run(
            waiting[:200], [place_of_four(node, held) for node in (1, 2)],
            Caps(total=8, per_owner=cap), now=now, running=tuple(one for _end, one in running.values()),
            aging=Aging(last_started=started),
        )  # fmt: skip
        for placed in decision.placed:
            one = by_id[placed.id]
            held_by = Running(one.id, one.owner, placed.node, placed.devices)
            running[one.id] = (tick + lengths[placed.id % 10], held_by)
            started[one.group] = now
        gone = {placed.id for placed in decision.placed}
        waiting = [one for one in waiting if one.id not in gone]
        first -= gone
        if not first:
            return
    assert not first, f"starved: {first}"


def test_what_does_not_train_keeps_no_training_from_starting() -> None:
    """The setting for each person counts trainings, and all else by itself; a rule counts all together."""
    wants = [
        want(number, owner=5, kinds=("job", command))
        for number, command in enumerate(("sft", "infer", "rlhf", "export"), start=1)
    ]
    caps = Caps(total=9, per_owner=1)
    decision = run(wants, [place(1, free=8)], caps)
    assert {one.id for one in decision.placed} == {1, 2}
    assert {one.id: one.reason for one in decision.waits} == {
        3: Reason.USER_CAP,
        4: Reason.USER_CAP,
    }
    assert all("kind" not in one.detail for one in decision.waits)
    rules = (CapRule(Scope.EACH_USER, 3),)
    together = run(wants, [place(1, free=8)], Caps(total=9, per_owner=1, rules=rules))
    assert {one.id for one in together.placed} == {1, 2, 3}
