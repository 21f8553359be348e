"""Who goes where, and why another waits. Pure: facts in, decisions out.

Order: priority (higher first), then age, then number. The first that waits for devices reserves them:
what is free on the node that is nearest to fitting it is left free, so that small jobs behind it can
never starve a large one. A waiting user cap reserves nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

BLOCKED_NAMED = 4  # of the devices that a reason names


class Reason(StrEnum):
    """Why an instance waits."""

    USER_CAP = "scheduling:user_cap"
    GLOBAL_CAP = "scheduling:global_cap"
    BUDGET = "scheduling:budget"
    NO_FREE_DEVICE = "scheduling:no_free_device"
    RESERVED = "scheduling:reserved"
    NODE_CORDONED = "scheduling:node_cordoned"
    NODE_OFFLINE = "scheduling:node_offline"
    NODE_DISK_LOW = "scheduling:node_disk_low"
    GPU_BLOCKED = "scheduling:gpu_blocked"
    NO_NODE = "scheduling:no_node"
    NEVER_FITS = "scheduling:never_fits"


@dataclass(frozen=True)
class Want:
    """An instance that waits. devices: named ones, which replace the number; node: id or None = any.

    avoids: node id -> True: only if no other could take it, False: only if no other is free.
    budget_blocked: values of the reason's text when a budget that is used up keeps it from starting.
    """

    id: int
    owner: int
    queued_at: datetime
    gpus: int = 1
    priority: int = 0
    node: int | None = None
    devices: tuple[str, ...] = ()
    avoids: Mapping[int, bool] = field(default_factory=dict)
    budget_blocked: Mapping[str, Any] | None = None

    @property
    def count(self) -> int:
        """Devices needed."""
        return len(self.devices) or self.gpus


@dataclass(frozen=True)
class Slot:
    """A device that is there now. blocked: why jobs may not have it although nobody holds it, a kind of mark."""

    uuid: str
    is_gpu: bool
    free: bool
    number: int = 0
    blocked: str = ""


@dataclass(frozen=True)
class Place:
    """A node. takes: it is heard and not in maintenance; cordoned ones, and those whose disk is nearly full,
    take nothing new.
    """

    id: int
    name: str
    takes: bool
    cordoned: bool
    slots: tuple[Slot, ...]
    disk_low: bool = False

    @property
    def open(self) -> bool:
        """It takes new jobs."""
        return self.takes and not self.cordoned and not self.disk_low

    @property
    def has_gpu(self) -> bool:
        """True when its devices are GPUs."""
        return any(slot.is_gpu for slot in self.slots)


@dataclass(frozen=True)
class Caps:
    """How many may be active at once, in all and per owner."""

    total: int
    per_owner: int


@dataclass(frozen=True)
class Placed:
    """Goes now."""

    id: int
    node: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Waits:
    """Goes later; ``detail`` holds the values of the reason's text."""

    id: int
    reason: Reason
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """placed in the order in which they go; waits in the order of the queue."""

    placed: tuple[Placed, ...]
    waits: tuple[Waits, ...]


class _Board:
    """What is still free while one decision is made."""

    def __init__(self, places: Iterable[Place]) -> None:
        self.places = sorted(places, key=lambda place: place.name)
        self.free = {
            place.id: [slot.uuid for slot in place.slots if slot.free] for place in self.places
        }
        self.reserved: dict[int, set[str]] = {place.id: set() for place in self.places}
        self.has_gpu = any(place.has_gpu for place in self.places)

    def candidates(self, want: Want) -> list[Place]:
        """Nodes that it means: the wanted one, those with the wanted devices, else any with GPUs.

        A node with CPU slots only is taken where no node has a GPU, or when it is named: a training
        that wanted a GPU would be of little use there.
        """
        found = [place for place in self.places if want.node is None or place.id == want.node]
        if want.devices:
            named = set(want.devices)
            return [place for place in found if named <= {slot.uuid for slot in place.slots}]
        if want.node is None and self.has_gpu:
            return [place for place in found if place.has_gpu]
        return found

    def open_slots(self, want: Want, place: Place, *, beyond_reserved: bool) -> list[str]:
        """Free devices of this node that would do."""
        closed = self.reserved[place.id] if beyond_reserved else set()
        free = [uuid for uuid in self.free[place.id] if uuid not in closed]
        return [uuid for uuid in want.devices if uuid in free] if want.devices else free

    def take(self, place: Place, devices: Sequence[str]) -> None:
        """They are not free any more."""
        self.free[place.id] = [uuid for uuid in self.free[place.id] if uuid not in set(devices)]

    def reserve(self, want: Want, places: Sequence[Place]) -> None:
        """Keep what is free for it on the node nearest to fitting it."""
        nearest = max(
            places,
            key=lambda place: len(self.open_slots(want, place, beyond_reserved=False)),
        )
        self.reserved[nearest.id].update(self.open_slots(want, nearest, beyond_reserved=False))


def order_key(want: Want) -> tuple[int, datetime, int]:
    """Sort key of the queue."""
    return (-want.priority, want.queued_at, want.id)


def decide(
    *, wants: Iterable[Want], places: Iterable[Place], active: Mapping[int, int], caps: Caps
) -> Decision:
    """What to start now. active: owner -> number of active instances (in all: their sum)."""
    board = _Board(places)
    running = dict(active)
    placed: list[Placed] = []
    waits: list[Waits] = []
    head_reserved = False
    for want in sorted(wants, key=order_key):
        outcome = _one(want=want, board=board, running=running, caps=caps)
        if isinstance(outcome, Placed):
            placed.append(outcome)
            running[want.owner] = running.get(want.owner, 0) + 1
            continue
        if outcome.reason is Reason.NO_FREE_DEVICE and not head_reserved:
            head_reserved = True
            board.reserve(want, [place for place in _able(want, board) if place.open])
        position = {"position": len(waits) + 1}
        waits.append(
            Waits(id=want.id, reason=outcome.reason, detail={**outcome.detail, **position})
        )
    return Decision(placed=tuple(placed), waits=tuple(waits))


def _able(want: Want, board: _Board) -> list[Place]:
    """Nodes that could host it, without those that failed it as long as another takes new jobs."""
    able = [place for place in board.candidates(want) if len(place.slots) >= want.count]
    others = [place for place in able if not want.avoids.get(place.id, False)]
    return others if any(place.open for place in others) else able


def _one(*, want: Want, board: _Board, running: Mapping[int, int], caps: Caps) -> Placed | Waits:
    blocked = _blocked(want, board)
    if blocked is not None:
        return blocked
    if want.budget_blocked is not None:
        return Waits(want.id, Reason.BUDGET, dict(want.budget_blocked))
    total = sum(running.values())
    own = running.get(want.owner, 0)
    if own >= caps.per_owner:
        return Waits(want.id, Reason.USER_CAP, {"running": own, "cap": caps.per_owner})
    if total >= caps.total:
        return Waits(want.id, Reason.GLOBAL_CAP, {"running": total, "cap": caps.total})
    return _fit(want, board)


def _blocked(want: Want, board: _Board) -> Waits | None:
    """A reason that no ending job takes away."""
    if not any(place.slots for place in board.places):
        return Waits(want.id, Reason.NO_NODE)
    able = _able(want, board)
    if not able:
        most = max((len(place.slots) for place in board.candidates(want)), default=0)
        return Waits(want.id, Reason.NEVER_FITS, {"needed": want.count, "most": most})
    names = ", ".join(place.name for place in able)
    heard = [place for place in able if place.takes]
    if not heard:
        return Waits(want.id, Reason.NODE_OFFLINE, {"nodes": names})
    if all(place.cordoned for place in heard):
        return Waits(
            want.id, Reason.NODE_CORDONED, {"nodes": ", ".join(place.name for place in heard)}
        )
    if not any(place.open for place in heard):
        full = ", ".join(place.name for place in heard if place.disk_low)
        return Waits(want.id, Reason.NODE_DISK_LOW, {"nodes": full})
    return None


def _fit(want: Want, board: _Board) -> Placed | Waits:
    """Best fit: the node on which the fewest devices stay free, so that large gaps stay large.

    One that failed it comes behind all others.
    """
    places = [place for place in _able(want, board) if place.open]
    best: tuple[bool, int, str, Place, list[str]] | None = None
    most_free = 0
    for place in places:
        most_free = max(most_free, len(board.open_slots(want, place, beyond_reserved=False)))
        free = board.open_slots(want, place, beyond_reserved=True)
        rank = (place.id in want.avoids, len(board.free[place.id]) - want.count, place.name)
        if len(free) >= want.count and (best is None or rank < best[:3]):
            best = (*rank, place, free)
    if best is not None:
        _avoided, _left, _name, place, free = best
        devices = tuple(free[: want.count])
        board.take(place, devices)
        return Placed(id=want.id, node=place.id, devices=devices)
    facts: dict[str, Any] = {"needed": want.count, "free": most_free}
    if most_free >= want.count:
        return Waits(want.id, Reason.RESERVED, facts)
    blocked = _blocked_slots(want, board, places)
    if blocked:
        return Waits(want.id, Reason.GPU_BLOCKED, {**facts, "gpus": blocked})
    return Waits(want.id, Reason.NO_FREE_DEVICE, facts)


def _blocked_slots(want: Want, board: _Board, places: Sequence[Place]) -> list[list[Any]]:
    """[node, number, why] of what would have let it start, were it not blocked; the first few of them."""
    for place in places:
        slots = [slot for slot in place.slots if slot.blocked]
        if want.devices:
            slots = [slot for slot in slots if slot.uuid in want.devices]
        free = board.open_slots(want, place, beyond_reserved=False)
        if slots and len(free) + len(slots) >= want.count:
            return [[place.name, slot.number, slot.blocked] for slot in slots[:BLOCKED_NAMED]]
    return []
