"""What the system does by itself when an attempt ended badly, and what a job may ask of it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from loraforge.training.faults import GPU_OUT_OF_MEMORY, Again, fault_of

RETRIES_MAX = 3
BATCH = "per_device_train_batch_size"
ACCUMULATION = "gradient_accumulation_steps"
_AVOID = {Again.ELSEWHERE: False, Again.NOT_THERE: True}


class Refused(StrEnum):
    """Why the system makes no next attempt though it looked for one; an event says so."""

    NONE = ""
    LIMIT = "recovery:limit"  # as often as it may already
    BATCH_IS_ONE = "recovery:batch_is_one"  # nothing left to halve
    HALVED_ALREADY = "recovery:halved_already"


@dataclass(frozen=True)
class Batch:
    """Rows on one device at a time, and how many such steps make one of the optimizer."""

    rows: int
    accumulation: int

    def halved(self) -> "Batch | None":
        """Half of the rows, or the nearest below that divides them, with the same effective batch."""
        smaller = next((n for n in range(self.rows // 2, 0, -1) if self.rows % n == 0), 0)
        if not smaller:
            return None
        return Batch(rows=smaller, accumulation=self.accumulation * self.rows // smaller)


@dataclass(frozen=True)
class Ended:
    """An attempt that failed. retries: how many attempts the system has made by itself since a person's.

    stopped: a person, or the platform for a person's sake, had asked it to end. may_halve: the owner
    allowed one smaller batch; was_halved: that was done.
    """

    reason: str
    retries: int
    stopped: bool
    may_halve: bool
    was_halved: bool
    batch: Batch


@dataclass(frozen=True)
class Plan:
    """retry: make a next attempt. batch: with this one from now on.

    avoid: the node that failed it, True = unless no other could take it, False = unless none is free,
    None = not at all.
    """

    retry: bool
    avoid: bool | None = None
    batch: Batch | None = None
    refused: Refused = Refused.NONE


def plan(ended: Ended) -> Plan:
    """Whether the system makes the next attempt by itself."""
    again = fault_of(ended.reason).again
    if ended.stopped or again in {Again.NO, Again.ASKED}:
        return Plan(retry=False)
    if again is Again.SMALLER:
        return _smaller(ended)
    if ended.retries >= RETRIES_MAX:
        return Plan(retry=False, refused=Refused.LIMIT)
    return Plan(retry=True, avoid=_AVOID.get(again))


def _smaller(ended: Ended) -> Plan:
    if not ended.may_halve or ended.reason != GPU_OUT_OF_MEMORY:
        return Plan(retry=False)
    if ended.was_halved:
        return Plan(retry=False, refused=Refused.HALVED_ALREADY)
    batch = ended.batch.halved()
    if batch is None:
        return Plan(retry=False, refused=Refused.BATCH_IS_ONE)
    if ended.retries >= RETRIES_MAX:
        return Plan(retry=False, refused=Refused.LIMIT)
    return Plan(retry=True, batch=batch)


def argv_with(argv: Sequence[str], values: dict[str, int]) -> list[str]:
    """The argument list with these whole numbers in place of what it says, or at its end.

    argv is the compiler's: a flag and its value are two words, each flag comes once.
    """
    changed = list(argv)
    for name, value in values.items():
        flag = f"--{name}"
        if flag in changed:
            changed[changed.index(flag) + 1] = str(value)
        else:
            changed += [flag, str(value)]
    return changed


def fence_s(*, lost_s: float) -> tuple[int, int]:
    """(after how long without the control plane, and for how long a stop may save then), in seconds.

    Both together end before a node counts as lost, so that a replacement never runs beside the first.
    """
    return int(lost_s * 0.6), int(lost_s * 0.3)


def run_limit_s(*, asked_s: int, role_s: int) -> int:
    """The longest that a job may run, in seconds; 0 = without limit."""
    limits = [limit for limit in (asked_s, role_s) if limit > 0]
    return min(limits, default=0)
