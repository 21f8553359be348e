"""When a node counts as late, offline or lost. Pure."""

from dataclasses import dataclass
from datetime import datetime

from loraforge.nodes.models import NodeState

# States that silence leads through, in order; the others (new, in maintenance) are left by a person.
WATCHED = (NodeState.ONLINE, NodeState.SUSPECT, NodeState.OFFLINE, NodeState.LOST)


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
