"""How much of each file of an attempt is stored: moved under a lock, in the transaction that writes the rows."""

from collections.abc import Sequence
from dataclasses import dataclass

from django.db.models import F, QuerySet

from loraforge.instances.models import Attempt
from loraforge.telemetry.models import StreamPosition
from loraforge.telemetry.pieces import Piece, joined

REMEMBERED = 1_024  # streams that still grow, in this process

_ends: dict[tuple[int, str], int] = {}


@dataclass(frozen=True)
class Advance:
    """What became of the position.

    end: bytes [0, end) count as stored. size: the file's final size where it is known. runs: what is new
    of the pieces, to be written. is_gap: a piece began behind the end.
    """

    end: int
    size: int | None
    runs: list[Piece]
    is_gap: bool


def position_advance(*, attempt: Attempt, stream: str, pieces: Sequence[Piece]) -> Advance:
    """Move a stream's end over what is new of the pieces; the row stays locked until the commit.

    Where this process left the stream it need not be read: one UPDATE that matches only that end locks and
    moves it. What a rolled-back transaction or another process has made of it does not match, and is read.
    """
    known = _ends.pop((attempt.pk, stream), None)
    if known is not None:
        runs, is_gap = joined(pieces, known)
        rows = StreamPosition.objects.filter(attempt=attempt, stream=stream, end=known, size=None)
        if runs and _move(rows, runs):
            return _advanced(attempt, stream, Advance(runs[-1].end, None, runs, is_gap))
    position = position_lock(attempt=attempt, stream=stream)
    runs, is_gap = joined(pieces, position.end)
    if not runs:
        return Advance(position.end, position.size, runs, is_gap)
    _move(StreamPosition.objects.filter(pk=position.pk), runs)
    return _advanced(attempt, stream, Advance(runs[-1].end, position.size, runs, is_gap))


def _advanced(attempt: Attempt, stream: str, advance: Advance) -> Advance:
    """Remember the end of a stream that still grows."""
    if advance.size is None:
        while len(_ends) >= REMEMBERED:
            _ends.pop(next(iter(_ends)), None)
        _ends[attempt.pk, stream] = advance.end
    return advance


def _move(rows: QuerySet[StreamPosition], runs: Sequence[Piece]) -> int:
    gaps = [run for run in runs if run.left_out is not None]
    if not gaps:
        return rows.update(end=runs[-1].end)
    return rows.update(
        end=runs[-1].end,
        left_out_lines=F("left_out_lines") + sum(gap.left_out or 0 for gap in gaps),
        left_out_bytes=F("left_out_bytes") + sum(gap.end - gap.start for gap in gaps),
    )


def position_lock(*, attempt: Attempt, stream: str) -> StreamPosition:
    """The stream's row, made where there is none, locked until the commit."""
    rows = StreamPosition.objects.select_for_update()
    known = rows.filter(attempt=attempt, stream=stream).first()
    if known is None:
        StreamPosition.objects.bulk_create(
            [StreamPosition(attempt=attempt, stream=stream)], ignore_conflicts=True
        )
        known = rows.get(attempt=attempt, stream=stream)
    return known
