"""When a node counts as late, offline or lost, and its disk as full. Pure."""

from dataclasses import dataclass
from datetime import datetime

from loraforge.nodes.models import DiskLevel, NodeState

# States that silence leads through, in order; the others (new, in maintenance) are left by a person.
WATCHED = (NodeState.ONLINE, NodeState.SUSPECT, NodeState.OFFLINE, NodeState.LOST)


DISK_WARNING_PERCENT = 15.0
DISK_LOW_PERCENT = 10.0
DISK_BACK_PERCENT = 1.0  # beyond a limit before it counts as left: a disk at the limit tells once


@dataclass(frozen=True)
class Limits:
    """Seconds of silence after which a node gets each state."""

    suspect_s: float
    offline_s: float
    lost_s: float


def state_by_silence(*, silence_s: float, limits: Limits) -> NodeState:
    """What a node is that was last heard ``silence_s`` ago."""
    if silence_s >= limits.lost_s:
        return NodeState.LOST
    if silence_s >= limits.offline_s:
        return NodeState.OFFLINE
    if silence_s >= limits.suspect_s:
        return NodeState.SUSPECT
    return NodeState.ONLINE


def is_worse(state: NodeState, than: NodeState) -> bool:
    """True when silence leads from ``than`` to ``state``."""
    return WATCHED.index(state) > WATCHED.index(than)


@dataclass(frozen=True)
class Hearing:
    """Whether the control plane itself was listening: since when without a break, and until when."""

    since: datetime
    until: datetime


def disk_level(*, free_bytes: int, total_bytes: int, before: DiskLevel) -> DiskLevel:
    """How a disk with so much room counts; what it counted as before, when its size is not known."""
    if total_bytes <= 0:
        return before
    percent = free_bytes * 100 / total_bytes
    low = DISK_LOW_PERCENT + (DISK_BACK_PERCENT if before is DiskLevel.LOW else 0)
    warning = DISK_WARNING_PERCENT + (DISK_BACK_PERCENT if before is not DiskLevel.FINE else 0)
    if percent < low:
        return DiskLevel.LOW
    return DiskLevel.WARNING if percent < warning else DiskLevel.FINE
