"""The steps of a migration and how it ends. Pure."""

from enum import StrEnum


class Step(StrEnum):
    """In this order. Until SWITCH the training belongs to the source, from it on to the target."""

    FREEZE = "freeze"  # a checkpoint of now is saved and in the manifest; the training goes on
    COPY = "copy"  # the target fetches it
    VERIFY = "verify"  # the target has read it back from its disk
    RESERVE = "reserve"  # devices of the target are held
    STOP = "stop"  # the source saves once more and ends
    SWITCH = "switch"  # the next attempt, on the target, from the newest checkpoint
    START = "start"  # until its first step
    RELEASE = (
        "release"  # the source's devices, then its files, once the target has a copy of its own
    )


class Ending(StrEnum):
    """State of a migration; ACTIVE = it goes on."""

    ACTIVE = "active"
    DONE = "done"
    FAILED = "failed"  # the training stayed at, or went back to, its source
    CANCELLED = "cancelled"  # by a person, or the job ended meanwhile


ORDER = tuple(Step)
MAY_CANCEL = frozenset({Step.FREEZE, Step.COPY, Step.VERIFY, Step.RESERVE})


def number_of(step: str) -> int:
    """1 to 8."""
    return ORDER.index(Step(step)) + 1


class DrainMode(StrEnum):
    """What becomes of the jobs of a node that is drained."""

    MIGRATE = "migrate"
    WAIT = "wait"
