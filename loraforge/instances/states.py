"""States of an instance and the arrows between them (design.md section 5). Pure."""

from enum import StrEnum


class State(StrEnum):
    DRAFT = "draft"
    QUEUED = "queued"
    ASSIGNED = "assigned"
    PREPARING = "preparing"
    RUNNING = "running"
    FINISHING = "finishing"
    SUCCEEDED = "succeeded"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"
    UNKNOWN = "unknown"
    LOST = "lost"


S = State

# On a node, or on the way to it: holds its devices and counts against the caps.
ACTIVE = frozenset({S.ASSIGNED, S.PREPARING, S.RUNNING, S.FINISHING, S.STOPPING, S.UNKNOWN})
TERMINAL = frozenset({S.SUCCEEDED, S.STOPPED, S.FAILED, S.LOST})
# Nothing runs: may be deleted.
RESTING = TERMINAL | {S.DRAFT}
# On its way or at work, and nobody has asked it to stop yet.
STOPPABLE = ACTIVE - {S.STOPPING}
# Ended without what it was for: a next attempt makes sense.
RETRYABLE = TERMINAL - {S.SUCCEEDED}

# Why the platform stops an attempt whose instance goes on at another node, and why the next one begins.
MOVED = "migration:move"

_ENDS = frozenset({S.SUCCEEDED, S.STOPPED, S.FAILED})

ARROWS: dict[State, frozenset[State]] = {
    S.DRAFT: frozenset({S.QUEUED}),
    S.QUEUED: frozenset({S.ASSIGNED, S.DRAFT, S.STOPPED, S.FAILED}),
    S.ASSIGNED: frozenset(
        {S.PREPARING, S.RUNNING, S.FINISHING, S.STOPPING, S.UNKNOWN, S.QUEUED, *_ENDS}
    ),
    # To QUEUED by the system alone: the node or the platform failed it, its next attempt waits.
    S.PREPARING: frozenset({S.RUNNING, S.FINISHING, S.STOPPING, S.UNKNOWN, S.QUEUED, *_ENDS}),
    S.RUNNING: frozenset({S.FINISHING, S.STOPPING, S.UNKNOWN, S.QUEUED, *_ENDS}),
    S.FINISHING: frozenset({S.STOPPING, S.UNKNOWN, S.QUEUED, *_ENDS}),
    S.STOPPING: frozenset({S.UNKNOWN, *_ENDS}),
    S.UNKNOWN: frozenset(
        {S.ASSIGNED, S.PREPARING, S.RUNNING, S.FINISHING, S.STOPPING, S.LOST, S.QUEUED, *_ENDS}
    ),
    S.SUCCEEDED: frozenset(),
    S.STOPPED: frozenset({S.QUEUED}),  # resume or retry: the next attempt
    S.FAILED: frozenset({S.QUEUED}),
    S.LOST: frozenset({S.QUEUED}),
}


def is_allowed(*, source: State, target: State) -> bool:
    """True when an instance may go from source to target."""
    return target in ARROWS[source]


def ends_attempt(*, source: str, target: str) -> bool:
    """True for a move that an attempt's end is behind: to the instance's own end, or to a next attempt."""
    return source in ACTIVE and (target in TERMINAL or target == State.QUEUED)
