"""The placement policy: fixed examples, and properties that hold for every queue."""

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from loraforge.scheduling.explaining import explain
from loraforge.scheduling.facts import (
    Caps,
    Decision,
    Place,
    Reason,
    Running,
    Situation,
    Slot,
    Want,
)
from loraforge.scheduling.having import models_had
from loraforge.scheduling.policy import decide

T0 = datetime(2026, 1, 1, tzinfo=UTC)
ROOMY = Caps(total=100, per_owner=100)


def want(number: int, **changes: Any) -> Want:
    return Want(
        **{"id": number, "owner": number, "queued_at": T0 + timedelta(seconds=number), **changes}
    )


def place(number: int, free: int, busy: int = 0, **changes: Any) -> Place:
    is_gpu = changes.pop("is_gpu", True)
    slots = [Slot(f"g{number}-{index}", is_gpu, index < free) for index in range(free + busy)]
    facts = {
        "id": number,
        "name": f"n{number}",
        "takes": True,
        "cordoned": False,
        "slots": tuple(slots),
    }
    return Place(**{**facts, **changes})


def place_of_four(number: int, held: set[tuple[int, str]]) -> Place:
    slots = tuple(Slot(f"g{index}", True, (number, f"g{index}") not in held) for index in range(4))
    return Place(number, f"n{number}", True, False, slots)


def situation(wants: list[Want], places: list[Place], caps: Caps = ROOMY, **more: Any) -> Situation:
    facts = {"now": T0 + timedelta(minutes=1), "running": (), **more}
    return Situation(wants=tuple(wants), places=tuple(places), caps=caps, **facts)


def run(wants: list[Want], places: list[Place], caps: Caps = ROOMY, **more: Any) -> Decision:
    return decide(situation(wants, places, caps, **more))


def reasons(decision: Decision) -> dict[int, Reason]:
    return {wait.id: wait.reason for wait in decision.waits}


def test_priority_goes_before_age() -> None:
    decision = run([want(1), want(2, priority=5)], [place(1, free=1)])
    assert [placed.id for placed in decision.placed] == [2]
    assert reasons(decision) == {1: Reason.NO_FREE_DEVICE}


def test_best_fit_leaves_the_large_gap() -> None:
    decision = run([want(1)], [place(1, free=4), place(2, free=1, busy=3)])
    assert decision.placed[0].node == 2


def test_among_equal_nodes_one_that_has_the_model() -> None:
    had = models_had(["modelscope:org/m@abc"])
    equal = [place(1, free=1), place(2, free=1, models=had), place(3, free=1)]
    for model, node in (("modelscope:org/m", 2), ("modelscope:org/m@abc", 2), ("", 1)):
        assert run([want(1, model=model)], equal).placed[0].node == node, model
    assert run([want(1, model="modelscope:org/m@other")], equal).placed[0].node == 1
    smaller = [place(1, free=1), place(2, free=4, models=had)]
    assert run([want(1, model="modelscope:org/m")], smaller).placed[0].node == 1, "fit goes before"
    facts = situation([want(1, model="modelscope:org/m")], equal)
    told = explain(situation=facts, decision=decide(facts), want=facts.wants[0])
    assert [one.has_model for one in told.nodes] == [False, True, False]


def test_user_cap_and_global_cap() -> None:
    caps = Caps(total=2, per_owner=1)
    queue = [want(1, owner=7), want(2, owner=7), want(3, owner=8), want(4, owner=9)]
    decision = run(queue, [place(1, free=8)], caps)
    assert [placed.id for placed in decision.placed] == [1, 3]
    assert reasons(decision) == {2: Reason.USER_CAP, 4: Reason.GLOBAL_CAP}
    assert decision.waits[0].detail == {"running": 2, "cap": 2, "position": 1}
    assert decision.waits[1].detail == {"running": 1, "cap": 1, "position": 2}


def test_a_large_job_is_not_starved_by_small_ones() -> None:
    decision = run(
        [want(1, gpus=4), want(2), want(3)], [place(1, free=2, busy=2), place(2, free=1, busy=1)]
    )
    assert reasons(decision) == {1: Reason.NO_FREE_DEVICE, 3: Reason.RESERVED}
    assert [(placed.id, placed.node) for placed in decision.placed] == [(2, 2)]


def test_what_is_held_back_is_said() -> None:
    decision = run([want(1, gpus=4), want(2)], [place(1, free=2, busy=2)])
    assert reasons(decision) == {1: Reason.NO_FREE_DEVICE, 2: Reason.RESERVED}


def test_cpu_slots_only_where_there_is_no_gpu_or_when_named() -> None:
    cpu, gpu = place(1, free=2, is_gpu=False), place(2, free=0, busy=1)
    assert reasons(run([want(1)], [cpu, gpu])) == {1: Reason.NO_FREE_DEVICE}
    assert run([want(1, node=1)], [cpu, gpu]).placed[0].node == 1
    assert run([want(1)], [cpu]).placed[0].node == 1


def test_reasons_that_no_ending_job_takes_away() -> None:
    assert reasons(run([want(1)], [])) == {1: Reason.NO_NODE}
    assert reasons(run([want(1, gpus=3)], [place(1, free=2)])) == {1: Reason.NEVER_FITS}
    assert reasons(run([want(1, devices=("nope",))], [place(1, free=2)])) == {1: Reason.NEVER_FITS}
    assert reasons(run([want(1)], [place(1, free=1, takes=False)])) == {1: Reason.NODE_OFFLINE}
    assert reasons(run([want(1)], [place(1, free=1, cordoned=True)])) == {1: Reason.NODE_CORDONED}


def test_blocked_devices_are_left_out_and_named() -> None:
    slots = (
        Slot("a", True, False, number=0, blocked="gpu:foreign"),
        Slot("b", True, True, number=1),
        Slot("c", True, False, number=2),  # held
    )
    place_of_three = Place(1, "n1", True, False, slots)
    decision = run([want(1, gpus=2), want(2)], [place_of_three])
    assert [(placed.id, placed.devices) for placed in decision.placed] == [(2, ("b",))]
    assert reasons(decision) == {1: Reason.GPU_BLOCKED}, "and it holds nothing back for itself"
    facts = {"needed": 2, "free": 1, "gpus": [["n1", 0, "gpu:foreign"]], "position": 1}
    assert decision.waits[0].detail == facts
    three = run([want(1, gpus=3)], [place_of_three])
    assert reasons(three) == {1: Reason.NO_FREE_DEVICE}, "it waits for the third one anyway"
    named = run([want(1, devices=("a",)), want(2, devices=("c",))], [place_of_three])
    assert reasons(named) == {1: Reason.GPU_BLOCKED, 2: Reason.NO_FREE_DEVICE}


def test_named_devices_imply_the_node() -> None:
    decision = run([want(1, devices=("g2-1",))], [place(1, free=2), place(2, free=2)])
    assert (decision.placed[0].node, decision.placed[0].devices) == (2, ("g2-1",))


places_st = st.lists(
    st.builds(
        lambda free, busy, takes, cordoned, is_gpu: (free, busy, takes, cordoned, is_gpu),
        st.integers(0, 4), st.integers(0, 4), st.booleans(), st.booleans(), st.booleans(),
    ),
    max_size=5,
).map(
    lambda rows: [
        place(number, free=free, busy=busy, takes=takes, cordoned=cordoned, is_gpu=is_gpu)
        for number, (free, busy, takes, cordoned, is_gpu) in enumerate(rows)
    ]
)  # fmt: skip
wants_st = st.lists(
    st.tuples(
        st.integers(1, 4), st.integers(0, 3), st.integers(-1, 1), st.none() | st.integers(0, 4)
    ),
    max_size=12,
).map(
    lambda rows: [
        want(number, gpus=gpus, owner=owner, priority=priority, node=node)
        for number, (gpus, owner, priority, node) in enumerate(rows)
    ]
)


@settings(max_examples=300, deadline=None)
@given(
    wants=wants_st,
    places=places_st,
    total=st.integers(0, 6),
    own=st.integers(0, 3),
    active=st.dictionaries(st.integers(0, 3), st.integers(0, 3)),
)
def test_no_device_twice_and_no_cap_exceeded(
    wants: list[Want], places: list[Place], total: int, own: int, active: dict[int, int]
) -> None:
    running = [Running(1000, owner) for owner, count in active.items() for _ in range(count)]
    decision = run(wants, places, Caps(total=total, per_owner=own), running=tuple(running))
    by_id = {one.id: one for one in wants}
    given_out = [(placed.node, device) for placed in decision.placed for device in placed.devices]
    assert len(given_out) == len(set(given_out))
    free = {
        (one.id, slot.uuid)
        for one in places
        if one.takes and not one.cordoned
        for slot in one.slots
        if slot.free
    }
    assert set(given_out) <= free
    assert all(len(placed.devices) == by_id[placed.id].count for placed in decision.placed)
    started: dict[int, int] = dict(active)
    for placed in decision.placed:
        started[by_id[placed.id].owner] = started.get(by_id[placed.id].owner, 0) + 1
    if decision.placed:
        assert sum(started.values()) <= total
    assert all(started[by_id[placed.id].owner] <= own for placed in decision.placed)
    seen = [placed.id for placed in decision.placed] + [wait.id for wait in decision.waits]
    assert sorted(seen) == sorted(by_id)
    assert [wait.detail["position"] for wait in decision.waits] == list(
        range(1, len(decision.waits) + 1)
    )


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 4), min_size=1, max_size=10),
    lengths=st.lists(st.integers(1, 5), min_size=10, max_size=10),
)
def test_nobody_starves_while_small_jobs_keep_coming(sizes: list[int], lengths: list[int]) -> None:
    """Two nodes of 4; a small newcomer each round. Every one of the first is placed in bounded time."""
    waiting = [want(number, gpus=gpus) for number, gpus in enumerate(sizes)]
    first = {one.id for one in waiting}
    running: list[tuple[int, int, tuple[str, ...]]] = []  # ends at, node, devices
    next_id = 1000
    for tick in range(200):
        running = [one for one in running if one[0] > tick]
        held = {(node, device) for _end, node, devices in running for device in devices}
        places = [place_of_four(node, held) for node in (1, 2)]
        waiting.append(want(next_id, gpus=1))
        next_id += 1
        decision = run(waiting, places)
        for placed in decision.placed:
            running.append((tick + lengths[placed.id % 10], placed.node, placed.devices))
        gone = {placed.id for placed in decision.placed}
        waiting = [one for one in waiting if one.id not in gone]
        first -= gone
        if not first:
            return
    assert not first, f"starved: {first}"


def test_a_node_that_failed_it_is_taken_when_no_other_is_free() -> None:
    avoids = {1: False}
    first = run([want(1, avoids=avoids)], [place(1, free=1), place(2, free=4)])
    assert first.placed[0].node == 2, "though it leaves the larger gap"
    busy = run([want(1, avoids=avoids)], [place(1, free=1), place(2, free=0, busy=4)])
    assert busy.placed[0].node == 1


def test_a_broken_node_is_taken_only_when_no_other_could_take_it() -> None:
    avoids = {1: True}
    waiting = run([want(1, avoids=avoids)], [place(1, free=1), place(2, free=0, busy=4)])
    assert reasons(waiting) == {1: Reason.NO_FREE_DEVICE}
    for other in (place(2, free=4, takes=False), place(2, free=4, cordoned=True)):
        assert run([want(1, avoids=avoids)], [place(1, free=1), other]).placed[0].node == 1
    small = run([want(1, gpus=2, avoids=avoids)], [place(1, free=2), place(2, free=1)])
    assert small.placed[0].node == 1, "the other could never hold it"
    named = run([want(1, node=1, avoids=avoids)], [place(1, free=1), place(2, free=4)])
    assert named.placed[0].node == 1, "its owner named it"


def test_a_full_disk_takes_nothing_new_and_is_named() -> None:
    decision = run([want(1)], [place(1, free=2, disk_low=True), place(2, free=1)])
    assert decision.placed[0].node == 2
    full = run([want(1)], [place(1, free=2, disk_low=True), place(2, free=2, cordoned=True)])
    assert reasons(full) == {1: Reason.NODE_DISK_LOW}
    assert full.waits[0].detail["nodes"] == "n1"
