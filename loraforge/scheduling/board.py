"""The nodes while one decision is made: what is free, what is held back, what a want may use. Pure.

Within a decision less and less is free, so what did not fit once is not looked for again until something has
changed, and then only to tell the newest figures. That keeps a thousand wants over a hundred nodes cheap.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from loraforge.scheduling.facts import Booking, Place, Placed, Reason, Situation, Waits, Want

Shape = tuple[object, ...]
BLOCKED_NAMED = 4  # of the devices that a reason names


@dataclass(frozen=True)
class Able:
    """Nodes that could host a want, and the reason that no ending job takes away, if there is one."""

    places: tuple[Place, ...]
    reason: Reason | None = None
    detail: tuple[tuple[str, object], ...] = ()

    @cached_property
    def by_id(self) -> dict[int, Place]:
        """The same nodes by their keys."""
        return {place.id: place for place in self.places}


class Board:
    """What is still free while one decision is made."""

    def __init__(self, situation: Situation) -> None:
        self.now = situation.now
        self.lead = situation.lead
        self.places = sorted(situation.places, key=lambda place: place.name)
        self.free = {
            place.id: [slot.uuid for slot in place.slots if slot.free] for place in self.places
        }
        self.held_back: dict[int, set[str]] = {}
        self.has_gpu = any(place.has_gpu for place in self.places)
        self.has_slots = any(place.slots for place in self.places)
        self.has_bookings = any(place.bookings for place in self.places)
        self._uuids = {place.id: {slot.uuid for slot in place.slots} for place in self.places}
        self._able: dict[Shape, Able] = {}
        self._missed: dict[Shape, tuple[int, Waits]] = {}
        self._version = 0

    def shape(self, want: Want) -> Shape:
        """Wants of one shape fit the same nodes."""
        avoids = tuple(sorted(want.avoids.items()))
        whose = (want.owner, want.longest_s) if self.has_bookings else ()
        return (want.node, want.devices, want.gpus, avoids, *whose)

    def candidates(self, want: Want) -> list[Place]:
        """Nodes that it means: the wanted one, those with the wanted devices, else any with GPUs.

        A node with CPU slots only is taken where no node has a GPU, or when it is named: a training
        that wanted a GPU would be of little use there.
        """
        found = [place for place in self.places if want.node is None or place.id == want.node]
        if want.devices:
            named = set(want.devices)
            return [place for place in found if named <= self._uuids[place.id]]
        if want.node is None and self.has_gpu:
            return [place for place in found if place.has_gpu]
        return found

    def able(self, want: Want) -> Able:
        """Nodes that could host it, without those that failed it as long as another takes new jobs."""
        shape = self.shape(want)
        if shape not in self._able:
            self._able[shape] = self._find_able(want)
        return self._able[shape]

    def _find_able(self, want: Want) -> Able:
        if not self.has_slots:
            return Able((), Reason.NO_NODE)
        candidates = self.candidates(want)
        able = [place for place in candidates if len(place.slots) >= want.count]
        others = [place for place in able if not want.avoids.get(place.id, False)]
        able = others if any(place.open for place in others) else able
        if not able:
            most = max((len(place.slots) for place in candidates), default=0)
            return Able((), Reason.NEVER_FITS, (("needed", want.count), ("most", most)))
        is_open = tuple(place for place in able if place.open)
        if is_open:
            return Able(is_open)
        return Able(tuple(able), *_closed(able))

    def blocked(self, want: Want) -> Waits | None:
        """A reason that no ending job takes away."""
        found = self.able(want)
        return Waits(want.id, found.reason, dict(found.detail)) if found.reason else None

    def booked(self, want: Want, place: Place) -> set[str]:
        """Devices that are reserved for others, now or before it would be over."""
        if not place.bookings:
            return set()
        ends = self.now.timestamp() + (
            self.lead.total_seconds() if want.longest_s is None else want.longest_s
        )
        return {
            uuid
            for booking in place.bookings
            if want.owner not in booking.owners and booking.starts.timestamp() < ends
            for uuid in booking.devices
        }

    def usable(self, want: Want, place: Place, *, held_back: bool = False) -> list[str]:
        """Free devices of this node that would do; held_back: those kept for a larger job too."""
        free = self.free[place.id]
        closed = self.booked(want, place)
        if not held_back:
            closed = closed | self.held_back.get(place.id, set())
        if closed:
            free = [uuid for uuid in free if uuid not in closed]
        return [uuid for uuid in want.devices if uuid in free] if want.devices else free

    def own_booking(self, want: Want, place: Place) -> Booking | None:
        """What is reserved for its owner there at this moment."""
        for booking in place.bookings:
            if want.owner in booking.owners and booking.starts <= self.now < booking.ends:
                return booking
        return None

    def fit(self, want: Want) -> Placed | Waits:
        """Best fit: the owner's own reservation, then the node on which the fewest devices stay free, so that
        large gaps stay large, among these one that has its model. One that failed it comes behind all others.
        """
        shape = self.shape(want)
        known = self._missed.get(shape)
        if known is not None and known[0] == self._version:
            return Waits(want.id, known[1].reason, known[1].detail)
        best: tuple[bool, bool, int, bool, str] | None = None
        chosen: Place | None = None
        for place in self.able(want).places:
            if len(self.free[place.id]) < want.count or len(self.usable(want, place)) < want.count:
                continue
            left = len(self.free[place.id]) - want.count
            is_own = self.own_booking(want, place) is not None
            lacks = want.model not in place.models
            rank = (place.id in want.avoids, not is_own, left, lacks, place.name)
            if best is None or rank < best:
                best, chosen = rank, place
        if chosen is not None:
            return self._take(want, chosen)
        missed = self._miss(want)
        self._missed[shape] = (self._version, missed)
        return missed

    def _take(self, want: Want, place: Place) -> Placed:
        usable = self.usable(want, place)
        booking = self.own_booking(want, place)
        if booking is not None and not want.devices:
            usable = sorted(usable, key=lambda uuid: uuid not in booking.devices)  # keeps the order
        devices = tuple(usable[: want.count])
        self.free[place.id] = [uuid for uuid in self.free[place.id] if uuid not in devices]
        self._version += 1
        return Placed(id=want.id, node=place.id, devices=devices)

    def _miss(self, want: Want) -> Waits:
        places = self.able(want).places
        most = max(len(self.usable(want, place, held_back=True)) for place in places)
        if most >= want.count:
            return Waits(want.id, Reason.RESERVED, {"needed": want.count, "free": most})
        bookings = [one for place in places for one in self._in_the_way(want, place)]
        if bookings:
            first = min(bookings, key=lambda one: (one.starts, one.id))
            return Waits(want.id, Reason.BOOKED, _times(first.starts, first.ends))
        facts: dict[str, Any] = {"needed": want.count, "free": most}
        blocked = self._blocked_slots(want, places)
        if blocked:
            return Waits(want.id, Reason.GPU_BLOCKED, {**facts, "gpus": blocked})
        return Waits(want.id, Reason.NO_FREE_DEVICE, facts)

    def _blocked_slots(self, want: Want, places: Sequence[Place]) -> list[list[Any]]:
        """[node, number, why] of what would have let it start, were it not blocked; the first few of them."""
        for place in places:
            slots = [slot for slot in place.slots if slot.blocked]
            if want.devices:
                slots = [slot for slot in slots if slot.uuid in want.devices]
            free = self.usable(want, place, held_back=True) if slots else []
            if slots and len(free) + len(slots) >= want.count:
                return [[place.name, slot.number, slot.blocked] for slot in slots[:BLOCKED_NAMED]]
        return []

    def _in_the_way(self, want: Want, place: Place) -> list[Booking]:
        """Reservations of others without which it would go now."""
        if len(self.free[place.id]) < want.count:
            return []
        booked = self.booked(want, place)
        return [one for one in place.bookings if one.devices & booked & set(self.free[place.id])]

    def hold_back(self, want: Want) -> None:
        """Keep what is free for it on the node nearest to fitting it."""
        places: Sequence[Place] = self.able(want).places
        nearest = max(places, key=lambda place: len(self.usable(want, place, held_back=True)))
        kept = self.usable(want, nearest, held_back=True)
        self.held_back.setdefault(nearest.id, set()).update(kept)
        self._version += 1


def _closed(able: Sequence[Place]) -> tuple[Reason, tuple[tuple[str, object], ...]]:
    """Why none of these takes anything."""
    heard = [place for place in able if place.takes]
    if not heard:
        return Reason.NODE_OFFLINE, (("nodes", _names(able)),)
    if all(place.cordoned for place in heard):
        return Reason.NODE_CORDONED, (("nodes", _names(heard)),)
    return Reason.NODE_DISK_LOW, (("nodes", _names([one for one in heard if one.disk_low])),)


def _names(places: Sequence[Place]) -> str:
    return ", ".join(place.name for place in places)


def _times(starts: datetime, ends: datetime) -> dict[str, object]:
    return {"starts_at": starts.isoformat(), "ends_at": ends.isoformat()}
