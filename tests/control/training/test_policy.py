"""What the system does by itself: tables."""

import pytest

from loraforge.training.faults import FAULTS, Again, Owner, fault_of
from loraforge.training.policy import (
    Batch,
    Ended,
    Plan,
    Refused,
    argv_with,
    fence_s,
    plan,
    run_limit_s,
)

MEMORY = "user:gpu_out_of_memory"


def ended(reason: str, **facts: object) -> Ended:
    known: dict[str, object] = {
        "retries": 0, "stopped": False, "may_halve": False, "was_halved": False, "batch": Batch(4, 4),
    }  # fmt: skip
    return Ended(reason=reason, **{**known, **facts})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("case", "wanted"),
    [
        (ended("node:rebooted"), Plan(retry=True, avoid=False)),
        (ended("node:disk_full", retries=2), Plan(retry=True, avoid=True)),
        (ended("input:hash_mismatch"), Plan(retry=True)),
        (ended("node:rebooted", retries=3), Plan(retry=False, refused=Refused.LIMIT)),
        (ended("node:rebooted", stopped=True), Plan(retry=False)),
        (ended("code:exception"), Plan(retry=False)),
        (ended("user:bad_dataset"), Plan(retry=False)),
        (ended("node:oom_killed"), Plan(retry=False)),
        (ended("user:run_time_exceeded"), Plan(retry=False)),
        (ended("somebody:else"), Plan(retry=False)),
        (ended(MEMORY), Plan(retry=False)),
        (ended(MEMORY, may_halve=True), Plan(retry=True, batch=Batch(2, 8))),
        (
            ended(MEMORY, may_halve=True, was_halved=True),
            Plan(retry=False, refused=Refused.HALVED_ALREADY),
        ),
        (
            ended(MEMORY, may_halve=True, batch=Batch(1, 16)),
            Plan(retry=False, refused=Refused.BATCH_IS_ONE),
        ),
        (ended(MEMORY, may_halve=True, stopped=True), Plan(retry=False)),
    ],
)
def test_plan(case: Ended, wanted: Plan) -> None:
    assert plan(case) == wanted


@pytest.mark.parametrize("rows", range(2, 70))
def test_a_halved_batch_makes_the_same_step(rows: int) -> None:
    half = Batch(rows, 3).halved()
    assert half is not None
    assert half.rows * half.accumulation == rows * 3
    assert half.rows <= rows / 2


def test_the_system_repeats_only_what_node_or_platform_are_to_blame_for() -> None:
    by_itself = {Again.ITSELF, Again.ELSEWHERE, Again.NOT_THERE}
    for reason, fault in FAULTS.items():
        if fault.again in by_itself:
            assert fault.owner in {Owner.NODE, Owner.PLATFORM}, reason
    assert fault_of("training:dataset_gone").again is Again.NO
    assert fault_of("node:of_a_newer_agent") == fault_of("nobody:knows")


def test_numbers_take_their_place_in_the_command() -> None:
    argv = ["-m", "swift.cli.sft", "--per_device_train_batch_size", "4", "--seed", "1"]
    changed = argv_with(argv, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 8})
    assert changed == [
        *("-m", "swift.cli.sft", "--per_device_train_batch_size", "2", "--seed", "1"),
        *("--gradient_accumulation_steps", "8"),
    ]
    assert argv[3] == "4"


@pytest.mark.parametrize("lost_s", [10, 60, 900, 86_400])
def test_a_fence_has_fallen_before_the_node_counts_as_lost(lost_s: int) -> None:
    after_s, grace_s = fence_s(lost_s=lost_s)
    assert after_s > 0
    assert after_s + grace_s < lost_s


@pytest.mark.parametrize(
    ("asked", "role", "limit"), [(0, 0, 0), (60, 0, 60), (0, 90, 90), (60, 90, 60), (90, 60, 60)]
)
def test_run_limit(asked: int, role: int, limit: int) -> None:
    assert run_limit_s(asked_s=asked, role_s=role) == limit
