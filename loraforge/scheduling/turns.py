"""Whose turn it is. Pure.

First whoever has waited for a day without a start, the longest first. Then by class; within a class the owner
who uses the fewest devices, counting those of their own jobs that are ahead; then age. Among the jobs of one
owner in one class, their own order decides.

So one job of somebody who has nothing goes before the twenty of somebody who has some, and nobody waits
for ever: each start of theirs sets the clock of that owner and class back, so twenty old jobs are no
twenty turns in front.
"""

import heapq
from collections import deque
from collections.abc import Iterator
from datetime import datetime

from loraforge.instances.priorities import PriorityClass
from loraforge.scheduling.facts import Situation, Want

Group = tuple[int, PriorityClass]


def own_key(want: Want) -> tuple[int, datetime, int]:
    """Sort key among the jobs of one owner in one class."""
    return (want.rank, want.queued_at, want.id)


class Turns:
    """Gives the wants one after the other; `spent` says that the last one has used its owner's turn.

    One that can not run whatever ends (its node is away) uses no turn: else a job that waits for a broken node
    would hold back all others of its owner.
    """

    def __init__(self, situation: Situation) -> None:
        self.use: dict[int, int] = {}
        for running in situation.running:
            self.use[running.owner] = self.use.get(running.owner, 0) + max(1, len(running.devices))
        self.queues: dict[Group, deque[Want]] = {}
        for want in sorted(situation.wants, key=own_key):
            self.queues.setdefault(want.group, deque()).append(want)
        self.since = {
            group: _since(group, queue, situation) for group, queue in self.queues.items()
        }
        limit = situation.now - situation.aging.after
        self._old = sorted((since, group) for group, since in self.since.items() if since <= limit)
        self.aged: set[int] = set()
        self._spent = False

    def spent(self, want: Want) -> None:
        """This one goes, or waits for something that will come: it is ahead of its owner's others."""
        self._spent = True
        self.use[want.owner] = self.use.get(want.owner, 0) + want.count

    def __iter__(self) -> Iterator[Want]:
        yield from self._aged()
        for one in sorted(PriorityClass, key=lambda one: -one.rank):
            yield from self._class(one)

    def _aged(self) -> Iterator[Want]:
        for _since_when, group in self._old:
            queue = self.queues[group]
            self._spent = False
            while queue and not self._spent:
                want = queue.popleft()
                self.aged.add(want.id)
                yield want

    def _class(self, one: PriorityClass) -> Iterator[Want]:
        heads = [
            (*self._key(queue[0]), group)
            for group, queue in self.queues.items()
            if group[1] is one and queue
        ]
        heapq.heapify(heads)
        while heads:
            group = heapq.heappop(heads)[-1]
            queue = self.queues[group]
            yield queue.popleft()  # may change the use of this owner alone, who has no other head here
            if queue:
                heapq.heappush(heads, (*self._key(queue[0]), group))

    def _key(self, head: Want) -> tuple[int, datetime, int]:
        return (self.use.get(head.owner, 0), head.queued_at, head.id)


def _since(group: Group, queue: deque[Want], situation: Situation) -> datetime:
    """Since when this owner waits for a start in this class."""
    oldest = min(want.queued_at for want in queue)
    started = situation.aging.last_started.get(group)
    return oldest if started is None else max(oldest, started)
