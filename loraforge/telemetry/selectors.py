"""Reads of logs and metrics. Whoever calls has asked `instances.selectors` for the instance before."""

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Max, Q
from django.utils.translation import gettext as _

from loraforge.core.errors import Invalid, NotFound
from loraforge.core.threads import in_thread
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.selectors import job_missing
from loraforge.telemetry import gaps, policy
from loraforge.telemetry.models import LogChunk, LogGap, MetricRow, StreamPosition
from loraforge.telemetry.policy import Cursor, Line, Point
from loraforge.telemetry.readings import gpu_utilization
from nodeagent.contract.normalise import Normaliser

PAGE_BYTES = 1024 * 1024  # of a log that one page reads
TAIL_BYTES = 4 * 1024 * 1024
LINES_MAX = 5_000
ROWS_MAX = 2_000
CHART_POINTS = 1_500
SAMPLES_MAX = 1_000
LOSS_LOOK_BACK = 20


@dataclass(frozen=True)
class LogPage:
    """Complete lines of one attempt, at bytes [start, end) of its console.log.

    partial: the unfinished line behind them, when the page reaches the end of what is stored. more:
    asking again from `next` gives lines at once. left_out: there are no lines here, since so many were
    left out by the rate caps; no page holds both.
    """

    attempt: int
    start: int
    end: int
    lines: list[str]
    partial: str
    next: Cursor
    more: bool
    left_out: int = 0

    def frame(self) -> dict[str, Any]:
        """The page as a live frame of type log."""
        frame = {
            "type": "log",
            "attempt": self.attempt,
            "from": self.start,
            "to": self.end,
            "lines": self.lines,
            "partial": self.partial,
        }
        return {**frame, "left_out": self.left_out} if self.left_out else frame


@dataclass(frozen=True)
class MetricPage:
    """Metric rows in order. `next` is the cursor behind the last one."""

    rows: list[dict[str, Any]]
    next: Cursor
    more: bool


def cursor_get(text: str) -> Cursor:
    """The cursor of a request. Raises Invalid (`telemetry:bad_cursor`)."""
    try:
        return policy.cursor_parse(text)
    except ValueError as error:
        message = _("A cursor is <attempt>:<position>, as the last answer gave it.")
        raise Invalid("telemetry:bad_cursor", message, fields={"after": [message]}) from error


def attempt_get(*, instance: Instance, number: int | None = None) -> Attempt:
    """An attempt by its number, else the last one. Raises NotFound when there is none."""
    rows = Attempt.objects.filter(instance=instance).order_by("-number")
    found = (rows if number is None else rows.filter(number=number)).first()
    if found is None:
        raise NotFound("telemetry:no_attempt", _("It has not started yet, so there is no log."))
    return found


# --- bytes of a log -----------------------------------------------------------------------------------


def log_end(*, attempt: Attempt, stream: str = "log") -> int:
    """How many bytes of the stream are stored."""
    known = StreamPosition.objects.filter(attempt=attempt, stream=stream)
    return known.values_list("end", flat=True).first() or 0


def _is_whole(attempt: Attempt) -> bool:
    """Nothing will follow: the file is stored to its end, or a later attempt took over, or it was given up."""
    if Attempt.objects.filter(instance_id=attempt.instance_id, number__gt=attempt.number).exists():
        return True
    known = StreamPosition.objects.filter(attempt=attempt, stream="log").first()
    if known is not None and known.size is not None:
        return known.end >= known.size
    return attempt.ended_at is not None


def log_bytes(*, attempt: Attempt, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
    """Bytes [start, stop) of console.log, exactly as they are, a stored piece at a time."""
    position = start
    while stop is None or position < stop:
        piece = _piece_at(attempt, position)
        if not piece:
            return
        piece = piece if stop is None else piece[: stop - position]
        yield piece
        position += len(piece)


async def log_bytes_async(*, attempt: Attempt, start: int, stop: int) -> AsyncIterator[bytes]:
    """`log_bytes` for an async response; only one piece is in memory."""
    position = start
    while position < stop:
        piece = (await in_thread(_piece_at)(attempt, position))[: stop - position]
        if not piece:
            return
        yield piece
        position += len(piece)


def _piece_at(attempt: Attempt, position: int) -> bytes:
    """What is stored from ``position`` on in its row; empty at the end. A merge of rows changes nothing."""
    row = (
        LogChunk.objects.filter(attempt=attempt, start__lte=position).order_by("-start")
        .values_list("start", "data").first()
    )  # fmt: skip
    return bytes(row[1])[position - row[0] :] if row else b""


def _bytes_from(attempt: Attempt, position: int, limit: int) -> bytes:
    """At least one stored piece from ``position`` on, else about ``limit`` bytes."""
    first = LogChunk.objects.filter(attempt=attempt, start__lte=position).aggregate(
        at=Max("start")
    )["at"]
    if first is None:
        return b""
    rows = LogChunk.objects.filter(attempt=attempt, start__gte=first).order_by("start")
    found = bytearray()
    for start, data in rows.values_list("start", "data").iterator(chunk_size=64):
        found += data if start >= position else bytes(data)[position - start :]
        if len(found) >= limit:
            break
    return bytes(found)


def log_line_start(*, attempt: Attempt, position: int) -> int:
    """Where the line that covers ``position`` begins, found from the newest stored newline before it."""
    newline_end = gaps.gap_end_before(attempt=attempt, position=position)
    rows = LogChunk.objects.filter(
        attempt=attempt, start__gte=newline_end, start__lt=position, newlines__gt=0
    )
    for start, data in rows.order_by("-start").values_list("start", "data")[:2]:
        found = bytes(data).rfind(b"\n", 0, position - start)
        if found >= 0:
            newline_end = start + found + 1
            break
    return policy.line_start(newline_end=newline_end, position=position)


def log_open_line(*, attempt: Attempt, position: int) -> Normaliser:
    """A normaliser that was fed all bytes before ``position``; reads the last line only."""
    begin = log_line_start(attempt=attempt, position=position)
    normaliser = Normaliser(position=begin)
    normaliser.feed(b"".join(log_bytes(attempt=attempt, start=begin, stop=position)))
    return normaliser


# --- lines of a log -----------------------------------------------------------------------------------


def log_lines(*, instance: Instance, after: Cursor, limit: int = 1_000) -> LogPage:
    """The next lines behind a cursor, of one attempt; followed to the end they are normalise(console.log).

    A line is never split. An unfinished last line is a line once nothing can follow it, before that it
    is `partial`. After an attempt's last line `next` stands at the beginning of the following attempt.
    """
    attempts = list(
        Attempt.objects.filter(instance=instance, number__gte=after.attempt).order_by("number")[:50]
    )
    page = LogPage(after.attempt, after.position, after.position, [], "", after, more=False)
    for attempt in attempts:
        start = after.position if attempt.number == after.attempt else 0
        page = _lines_page(attempt, start, limit)
        if page.lines or page.left_out or page.more:
            return replace(page, more=page.more or attempt != attempts[-1])
    return page


def _lines_page(attempt: Attempt, start: int, limit: int) -> LogPage:
    is_whole = _is_whole(attempt)  # asked before the bytes are read, so that it holds for them
    gap = LogGap.objects.filter(attempt=attempt, end__gt=start).first()
    if gap is not None and gap.start <= start:
        return _gap_page(attempt, gap, after=gap.end, more=gap.end < log_end(attempt=attempt))
    stop = gap.start if gap is not None else None
    data = _bytes_from(attempt, start, PAGE_BYTES)
    if stop is not None:
        data = data[: stop - start]
        is_whole = (
            is_whole or start + len(data) == stop
        )  # a line ends before a gap, whatever it says
    found: list[Line] = []
    is_cut = len(data) >= PAGE_BYTES
    for line in policy.lines_at(data=data, position=start):
        if len(found) == limit:
            is_cut = True
            break
        found.append(line)
    end = found[-1].end if found else start
    rest = b"" if is_cut else data[end - start :]
    if rest and is_whole and len(found) < limit:
        found.append(Line(start + len(data), _shown(rest)))
        end, rest = found[-1].end, b""
    more = (
        is_cut or bool(rest and is_whole) or (stop is not None and end < log_end(attempt=attempt))
    )
    partial = "" if more else _shown(rest)
    texts = [line.text for line in found]
    return LogPage(
        attempt.number, start, end, texts, partial, Cursor(attempt.number, end), more=more
    )


def _gap_page(attempt: Attempt, gap: LogGap, *, after: int, more: bool) -> LogPage:
    cursor = Cursor(attempt.number, after)
    return LogPage(attempt.number, gap.start, gap.end, [], "", cursor, more, left_out=gap.lines)


def _shown(rest: bytes) -> str:
    normaliser = Normaliser()
    normaliser.feed(rest)
    return normaliser.partial


def log_tail(*, instance: Instance, lines: int, before: Cursor | None = None) -> LogPage:
    """The last lines (before a cursor), read backwards: at most TAIL_BYTES, however long the log is.

    Here `more` says that there are earlier lines; ask with ``before`` = ``<attempt>:<start>`` for them.
    """
    attempts = Attempt.objects.filter(instance=instance).order_by("-number")
    if before is not None:
        attempts = attempts.filter(number=before.attempt)
    attempt = attempts.first()
    if attempt is None:
        return LogPage(0, 0, 0, [], "", policy.START, more=False)
    is_whole = _is_whole(attempt)
    stop = log_end(attempt=attempt) if before is None else before.position
    gap = LogGap.objects.filter(attempt=attempt, end=stop).first()
    if gap is not None:
        return _gap_page(attempt, gap, after=gap.end, more=gap.start > 0)
    start = _tail_start(attempt, stop, lines)
    data = b"".join(log_bytes(attempt=attempt, start=start, stop=stop))
    found = list(policy.lines_at(data=data, position=start))
    end = found[-1].end if found else start
    rest = data[end - start :]
    if rest and (is_whole or before is not None):
        found.append(Line(stop, _shown(rest)))
        end, rest = stop, b""
    if len(found) > lines:
        start = found[-lines - 1].end
        found = found[-lines:]
    texts = [line.text for line in found]
    return LogPage(
        attempt.number, start, end, texts, _shown(rest), Cursor(attempt.number, end), more=start > 0
    )


def _tail_start(attempt: Attempt, stop: int, lines: int) -> int:
    """A line's beginning with at least ``lines`` newlines between it and ``stop``, as far as TAIL_BYTES goes."""
    seen = 0
    first = gaps.gap_end_before(attempt=attempt, position=stop)
    rows = LogChunk.objects.filter(attempt=attempt, start__gte=first, start__lt=stop).order_by(
        "-start"
    )
    for start, end, newlines in rows.values_list("start", "end", "newlines").iterator(
        chunk_size=256
    ):
        if stop - start > TAIL_BYTES:
            return log_line_start(attempt=attempt, position=max(start, stop - TAIL_BYTES))
        seen += newlines if end <= stop else _piece_at(attempt, start)[: stop - start].count(b"\n")
        if seen > lines and start:
            return log_line_start(attempt=attempt, position=start)
    return first


# --- metrics ------------------------------------------------------------------------------------------


def metric_plain(row: MetricRow, *, attempt: int) -> dict[str, Any]:
    """A metric row as it stands in frames and answers; from and to are its bytes in the file."""
    return {
        "attempt": attempt,
        "from": row.start,
        "to": row.end,
        "step": row.step,
        "at": row.at.isoformat(),
        "values": row.values,
    }


def metric_rows(*, instance: Instance, after: Cursor, limit: int = 500) -> MetricPage:
    """The rows behind a cursor, oldest first, over all attempts."""
    later = Q(attempt__number__gt=after.attempt)
    same = Q(attempt__number=after.attempt, start__gte=after.position)
    rows = list(
        MetricRow.objects.filter(later | same, attempt__instance=instance)
        .select_related("attempt").order_by("attempt__number", "start")[: limit + 1]
    )  # fmt: skip
    page = rows[:limit]
    last = Cursor(page[-1].attempt.number, page[-1].end) if page else after
    plain = [metric_plain(row, attempt=row.attempt.number) for row in page]
    return MetricPage(plain, last, more=len(rows) > limit)


def metric_chart(
    *, instance: Instance, points: int = CHART_POINTS
) -> tuple[dict[str, list[Point]], Cursor]:
    """Each number of the metrics over the steps, at most ``points`` of each, and the cursor behind them.

    Where a later attempt went over the same steps again its values stand, so that a resumed training is
    one curve.
    """
    rows = MetricRow.objects.filter(attempt__instance=instance).order_by("attempt__number", "start")
    series: dict[str, list[Point]] = {}
    seen: set[tuple[int, str]] = set()
    last = policy.START
    for attempt, end, step, values in rows.values_list("attempt__number", "end", "step", "values"):
        last = Cursor(attempt, end)
        if step is None:
            continue
        for name, value in _numbers(values):
            known = series.setdefault(name, [])
            if (attempt, name) not in seen:
                seen.add((attempt, name))
                while known and known[-1].step >= step:
                    known.pop()
            known.append(Point(step, value))
    return {name: policy.points_thin(known, limit=points) for name, known in series.items()}, last


def _numbers(values: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield name, float(value)


def losses_at(
    *, instance: Instance, places: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], tuple[float | None, float | None]]:
    """(attempt, step) -> newest loss and eval_loss logged there, at most LOSS_LOOK_BACK steps before. One query."""
    near = Q()
    for number, step in places:
        near |= Q(attempt__number=number, step__gt=step - LOSS_LOOK_BACK, step__lte=step)
    if not near:
        return {}
    rows = MetricRow.objects.filter(near, attempt__instance=instance).order_by("start")
    known = list(rows.values_list("attempt__number", "step", "values"))
    found = {}
    for number, step in places:
        before: dict[str, Any] = {}
        for attempt, at, values in known:
            if attempt == number and at is not None and step - LOSS_LOOK_BACK < at <= step:
                before.update(values)
        loss, eval_loss = (before.get(name) for name in ("loss", "eval_loss"))
        found[number, step] = (_float(loss), _float(eval_loss))
    return found


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def status_get(*, instance_id: int) -> dict[str, Any]:
    """The train_status frame of an instance as it is now. Raises NotFound when it was deleted."""
    instance = Instance.objects.filter(pk=instance_id, deleted_at=None).first()
    if instance is None:
        raise job_missing(instance_id)
    return status_of(instance)


def status_of(instance: Instance) -> dict[str, Any]:
    """The train_status frame of an instance that was read just now."""
    attempt = Attempt.objects.filter(instance=instance, number=instance.attempt).first()
    return status_frame(instance, gpu_utilization=gpu_utilization(attempt=attempt))
