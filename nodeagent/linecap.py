"""How much of a log is sent on: so many lines a second for each job and for the node. Times come in.

What is over is left out and told as a gap with its bytes and lines; the file keeps all of it. A gap begins
and ends at a line's edge. Only a trainer's own pace counts: what piled up while nobody could be told is
sent without loss, since a budget grows with time until its reader has caught up.
"""

import time
from collections import deque
from typing import NamedTuple

LINES_PER_JOB = 5_000
LINES_PER_NODE = 20_000


class Piece(NamedTuple):
    """Bytes of the file at [start, end)."""

    start: int
    end: int
    data: bytes


class LeftOut(NamedTuple):
    """Bytes [start, end) that are not sent, and how many lines they are."""

    start: int
    end: int
    lines: int


class LineBudget:
    """Lines that may be sent: ``lines_per_s`` more with every whole second; 0 = as many as there are.

    Shared by all who spend of it; while one of them is behind nothing of what was saved up is lost.
    """

    def __init__(self, lines_per_s: int, *, now: float) -> None:
        self._rate = lines_per_s
        self._left = lines_per_s
        self._counted_at = now
        self._behind: set[int] = set()

    def refill(self, now: float) -> None:
        """Count the seconds that have passed."""
        seconds = int(now - self._counted_at)
        if seconds > 0:
            self._counted_at += seconds
            self._left += seconds * self._rate

    def behind(self, who: int) -> None:
        """There is more to read for this one."""
        self._behind.add(who)

    def caught_up(self, who: int) -> None:
        """This one has read all there is."""
        self._behind.discard(who)
        if not self._behind:
            self._left = min(self._left, self._rate)

    def spend(self, lines: int) -> None:
        """So many are sent."""
        self._left -= lines

    @property
    def room(self) -> float:
        """How many more may be sent now."""
        return max(0, self._left) if self._rate else float("inf")


class LogCaps:
    """What all logs of a node share. Rates are lines a second; 0 = no cap."""

    def __init__(self, *, per_job: int = LINES_PER_JOB, per_node: int = LINES_PER_NODE) -> None:
        self._per_job = per_job
        self._node = LineBudget(per_node, now=time.monotonic())
        self.left_out_lines = 0

    def gate(self) -> "LogGate":
        """For one more log."""
        return LogGate(job=LineBudget(self._per_job, now=time.monotonic()), node=self._node)

    def forget(self, gate: "LogGate") -> None:
        """This log is not followed any more."""
        self._node.caught_up(id(gate))


class LogGate:
    """Decides for one log what is sent. Told the same bytes again it decides the same, within one life.

    Until it has caught up for the first time everything passes: what lies there was written while no
    agent ran, at a pace that nobody knows.
    """

    def __init__(self, *, job: LineBudget, node: LineBudget) -> None:
        self._budgets = (job, node)
        self._is_free = True
        self._at_line_start = True
        self._judged = 0  # what lies before was decided; the gaps of it are known
        self._known: deque[LeftOut] = deque()
        self._open: LeftOut | None = None

    @property
    def is_open(self) -> bool:
        """A gap grows that was not told yet."""
        return self._open is not None

    # -- what was decided before

    def rewind(self, position: int) -> None:
        """Reading begins again at ``position``."""
        self._open = None
        inside = any(gap.start < position < gap.end for gap in self._known)
        if inside or position > self._judged:
            self._known.clear()
            self._judged = position
        ends = {0, *(gap.end for gap in self._known)}
        self._at_line_start = position in ends

    def acked(self, end: int) -> None:
        """Nothing before ``end`` is ever asked for again."""
        while self._known and self._known[0].end <= end:
            self._known.popleft()

    def known(self, position: int) -> LeftOut | None:
        """The gap that was told to begin here before."""
        found = next((gap for gap in self._known if gap.start == position), None)
        if found is not None:
            self._at_line_start = True
        return found

    def _cut(self, piece: Piece) -> Piece:
        """No further than the next known gap, or than what was decided."""
        starts = [gap.start for gap in self._known if gap.start > piece.start]
        end = min([piece.end, self._judged, *starts])
        return Piece(piece.start, end, piece.data[: end - piece.start])

    # -- deciding

    def judge(self, piece: Piece, now: float) -> tuple[list[Piece | LeftOut], int]:
        """What to send for these bytes, in order, and the position up to which they are dealt with."""
        if piece.start < self._judged:
            again = self._cut(piece)
            self._at_line_start = again.data.endswith(b"\n")
            return [again], again.end
        for budget in self._budgets:
            budget.refill(now)
            budget.behind(id(self))
        told: list[Piece | LeftOut] = []
        at = 0
        while at < len(piece.data):
            grow = self._grow if self._open is not None else self._pass
            at = grow(piece, at, told)
        if self._open is None:
            self._judged = piece.end
        return told, piece.end

    @property
    def _room(self) -> float:
        return float("inf") if self._is_free else min(budget.room for budget in self._budgets)

    def _pass(self, piece: Piece, at: int, told: list[Piece | LeftOut]) -> int:
        """Send what there is room for, in whole lines; behind it a gap opens."""
        data = piece.data
        lines = data.count(b"\n", at)
        cut = len(data)
        if lines > self._room:
            cut = at
            for _ in range(max(int(self._room), 0 if self._at_line_start else 1)):
                cut = data.index(b"\n", cut) + 1
            if cut < len(data):
                self._open = LeftOut(piece.start + cut, piece.start + cut, 0)
                self._judged = piece.start + cut
        if cut > at:
            sent = data[at:cut]
            told.append(Piece(piece.start + at, piece.start + cut, sent))
            self._spend(sent.count(b"\n"))
            self._at_line_start = sent.endswith(b"\n")
        return cut

    def _grow(self, piece: Piece, at: int, told: list[Piece | LeftOut]) -> int:
        """Leave out until there is room again and a line begins."""
        data = piece.data
        cut = len(data)
        is_over = False
        if self._room > 0:
            edge = at if self._at_line_start else data.find(b"\n", at) + 1
            is_over = edge > 0 or self._at_line_start
            cut = edge if is_over else cut
        gap = self._open
        if gap is not None:
            more = data[at:cut]
            self._open = LeftOut(gap.start, piece.start + cut, gap.lines + more.count(b"\n"))
            self._at_line_start = more.endswith(b"\n") if more else self._at_line_start
        if is_over:
            told.append(self._close())
        return cut

    def _spend(self, lines: int) -> None:
        if not self._is_free:
            for budget in self._budgets:
                budget.spend(lines)

    def caught_up(self, now: float, *, final: bool) -> LeftOut | None:
        """There is nothing more to read now. A gap that can be told is given; final: the file is at its end."""
        self._is_free = False
        for budget in self._budgets:
            budget.refill(now)
            budget.caught_up(id(self))
        if self._open is None or not (final or (self._room > 0 and self._at_line_start)):
            return None
        return self._close()

    def _close(self) -> LeftOut:
        gap = self._open
        if gap is None:
            raise RuntimeError("no gap is open")
        if not self._at_line_start:  # the file ends without a newline
            gap = gap._replace(lines=gap.lines + 1)
        self._open = None
        self._judged = gap.end
        self._known.append(gap)
        return gap
