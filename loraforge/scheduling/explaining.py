"""Why an instance stands where it stands and on which nodes it could run: for operators. Pure."""

from dataclasses import dataclass
from typing import Any

from loraforge.instances.priorities import priority_class
from loraforge.scheduling.board import Board
from loraforge.scheduling.capping import CLASSES, Tally
from loraforge.scheduling.facts import Decision, Place, Situation, Want


@dataclass(frozen=True)
class NodeVerdict:
    """What one node has for a want. fits: enough of its devices are free for it now, before all others.

    has_model: it need not fetch it; decides between nodes on which equally many devices would stay free.
    """

    node: str
    means: bool
    takes: bool
    cordoned: bool
    disk_low: bool
    avoided: bool
    devices: int
    free: int
    reserved: int
    blocked: int
    fits: bool
    has_model: bool


@dataclass(frozen=True)
class CapVerdict:
    """A limit that holds for it, and how many count against it now."""

    scope: str
    subject: str
    kind: str
    running: int
    limit: int

    @property
    def full(self) -> bool:
        return self.running >= self.limit


@dataclass(frozen=True)
class Explained:
    """order: the parts of its place in the queue; outcome: reason and detail, empty when it goes now."""

    order: dict[str, Any]
    reason: str
    detail: dict[str, Any]
    caps: list[CapVerdict]
    nodes: list[NodeVerdict]


def explain(*, situation: Situation, decision: Decision, want: Want) -> Explained:
    """All that the decision about this want was made of."""
    board = Board(situation)
    tally = Tally(situation.caps, situation.running)
    wait = next((wait for wait in decision.waits if wait.id == want.id), None)
    limits = [(limit, *limit.key) for limit in tally.limits(want)]
    return Explained(
        order={
            "priority_class": str(priority_class(want.priority)),
            "aged": want.id in decision.aged,
            "owner_devices": sum(
                max(1, len(one.devices)) for one in situation.running if one.owner == want.owner
            ),
            "own_rank": want.rank,
            "queued_at": want.queued_at,
        },
        reason=str(wait.reason) if wait is not None else "",
        detail=wait.detail if wait is not None else {},
        caps=[
            CapVerdict(
                str(scope),
                str(subject or ""),
                "" if kind in CLASSES else kind,
                tally.counts[limit.key],
                limit.limit,
            )
            for limit, scope, subject, kind in limits
        ],
        nodes=[_verdict(want, place, board) for place in board.places],
    )


def _verdict(want: Want, place: Place, board: Board) -> NodeVerdict:
    means = any(one.id == place.id for one in board.candidates(want))
    enough = len(board.usable(want, place)) >= want.count
    free = set(board.free[place.id])
    return NodeVerdict(
        node=place.name,
        means=means,
        takes=place.takes,
        cordoned=place.cordoned,
        disk_low=place.disk_low,
        avoided=place.id in want.avoids,
        devices=len(place.slots),
        free=len(free),
        reserved=len(board.booked(want, place) & free),
        blocked=sum(bool(slot.blocked) for slot in place.slots),
        fits=means and place.open and enough,
        has_model=want.model in place.models,
    )
