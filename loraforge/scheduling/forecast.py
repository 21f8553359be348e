"""When what waits is likely to start: the queue played through with what is known of ends. Pure.

An end is known by a training's progress, or it is no later than its longest run. What is not known is not
guessed: a job whose start depends on it has no estimate.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from math import inf
from operator import itemgetter

from loraforge.scheduling.board import Board
from loraforge.scheduling.capping import Key, Tally
from loraforge.scheduling.facts import Decision, Place, Situation, Want

# Seconds since 1970, and whether it may be earlier: a longest run stands in for an end somewhere before it.
Moment = tuple[float, bool]
NEVER: Moment = (inf, False)


@dataclass(frozen=True)
class Expected:
    """at: when it is likely to start; is_latest: or earlier."""

    at: datetime
    is_latest: bool


class _Future:
    """When each device and each place below a cap becomes free."""

    def __init__(self, situation: Situation, board: Board, tally: Tally) -> None:
        self.now = situation.now.timestamp()
        self.board = board
        self.tally = tally
        self.frees: dict[int, dict[str, Moment]] = {
            place.id: {slot.uuid: (self.now, False) if slot.free else NEVER for slot in place.slots}
            for place in situation.places
        }
        self.places = {place.id: place for place in situation.places}
        self.sorted: dict[int, list[Moment]] = {}
        self.orders: dict[int, list[tuple[Moment, str, int]]] = {}
        self.ends: dict[Key, list[Moment]] = {}
        self.head_waits = False

    def hold(self, node: int | None, devices: Iterable[str], end: Moment) -> None:
        """These devices are taken until then."""
        if node not in self.frees:
            return
        place = self.places[node]
        listed = [] if place.bookings else [one for one in self.orders if one <= len(place.slots)]
        before = [self._nth(place, number) for number in listed]
        self.frees[node].update((uuid, end) for uuid in devices if uuid in self.frees[node])
        self.sorted.pop(node, None)
        for number, at in zip(listed, before, strict=True):
            order = self.orders[number]
            del order[bisect_left(order, (at, place.name, node))]
            insort(order, (self._nth(place, number), place.name, node))

    def count(self, keys: Iterable[Key], end: Moment) -> None:
        """One that counts against these caps ends then."""
        for key in keys:
            insort(self.ends.setdefault(key, []), end)

    def below_caps(self, want: Want) -> Moment:
        """When no cap lets it wait any more."""
        latest: Moment = (self.now, False)
        for limit in self.tally.limits(want):
            ends = self.ends.get(limit.key, [])
            over = len(ends) - limit.limit
            if over >= 0:
                latest = max(latest, ends[over] if limit.limit else NEVER)
        return latest

    def _nth(self, place: Place, number: int) -> Moment:
        """When so many of a node's devices are free."""
        if place.id not in self.sorted:
            self.sorted[place.id] = sorted(self.frees[place.id].values())
        return self.sorted[place.id][number - 1]

    def _order(self, number: int) -> list[tuple[Moment, str, int]]:
        """(when so many of its devices are free, name, id) of all nodes without reservations, first to last."""
        if number not in self.orders:
            self.orders[number] = sorted(
                (self._nth(place, number), place.name, place.id)
                for place in self.places.values()
                if not place.bookings and len(place.slots) >= number
            )
        return self.orders[number]

    def first(self, want: Want, cap: Moment) -> tuple[Moment, Place]:
        """When and where it fits first, not before ``cap``; of several that fit by then the first by name."""
        able = self.board.able(want).by_id
        found = []
        if want.devices or self.board.has_bookings:
            found = [
                (max(cap, self._on(want, place)), place.name, place.id)
                for place in able.values()
                if want.devices or place.bookings
            ]
        if not want.devices:
            order = self._order(want.count)
            by_then = bisect_right(order, cap, key=itemgetter(0))
            names = [(name, node) for _at, name, node in order[:by_then] if node in able]
            if names:
                found.append((cap, *min(names)))
            else:
                found += [one for one in order[by_then:] if one[2] in able][:1]
        start, _name, node = min(found)
        return start, able[node]

    def _on(self, want: Want, place: Place) -> Moment:
        return sorted(self._moments(want, place).values())[want.count - 1]

    def _moments(self, want: Want, place: Place) -> dict[str, Moment]:
        """Device -> when it is free for this want, behind all reservations of others that are in its way."""
        found = self.frees[place.id]
        if want.devices:
            found = {uuid: found[uuid] for uuid in want.devices}
        for booking in sorted(place.bookings, key=lambda one: one.starts):
            if want.owner in booking.owners:
                continue
            length = inf if want.longest_s is None else want.longest_s
            starts, ends = booking.starts.timestamp(), booking.ends.timestamp()
            found = {
                uuid: (ends, moment[1])
                if uuid in booking.devices and moment[0] < ends and moment[0] + length > starts
                else moment
                for uuid, moment in found.items()
            }
        return found

    def play(self, want: Want) -> Moment:
        """Its start, and from then on it holds what it takes."""
        cap = self.below_caps(want)
        if cap[0] == inf:
            return NEVER
        start, place = self.first(want, cap)
        if start[0] == inf:
            if not self.head_waits:
                self.head_waits = True
                self._hold_back(want, self.board.able(want).places)
            return NEVER
        devices = self._moments(want, place)
        taken = sorted(devices, key=lambda uuid: devices[uuid])[: want.count]
        end = end_of(start, want.longest_s)
        self.hold(place.id, taken, end)
        self.count((limit.key for limit in self.tally.limits(want)), end)
        return start

    def _hold_back(self, want: Want, places: tuple[Place, ...]) -> None:
        """As the policy does: the first that waits keeps what there is on the node nearest to fitting it."""
        known = {
            place.id: [uuid for uuid, at in self._moments(want, place).items() if at[0] < inf]
            for place in places
        }
        nearest = max(known, key=lambda node: len(known[node]))
        self.hold(nearest, known[nearest], NEVER)


def end_of(start: Moment, longest_s: int | None) -> Moment:
    """When it is over, at the latest."""
    return NEVER if longest_s is None else (start[0] + longest_s, True)


def forecast(*, situation: Situation, decision: Decision) -> dict[int, Expected]:
    """Id -> start of those that wait, as far as it is known."""
    board = Board(situation)
    tally = Tally(situation.caps, ())
    future = _Future(situation, board, tally)
    for running in situation.running:
        known = running.ends_at
        end = NEVER if known is None else (max(known.timestamp(), future.now), running.is_latest)
        future.hold(running.node, running.devices, end)
        future.count(tally.keys(running.owner, running.groups, running.kinds), end)
    wants = {want.id: want for want in situation.wants}
    for placed in decision.placed:
        want = wants[placed.id]
        end = end_of((future.now, False), want.longest_s)
        future.hold(placed.node, placed.devices, end)
        future.count(tally.keys(want.owner, want.groups, want.kinds), end)
    found = {}
    for wait in decision.waits:
        want = wants[wait.id]
        if want.budget_blocked is not None or board.blocked(want) is not None:
            continue
        at, is_latest = future.play(want)
        if at < inf:
            found[want.id] = Expected(datetime.fromtimestamp(at, UTC), is_latest)
    return found
