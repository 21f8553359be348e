"""Writes of logs, metrics, events and samples. Called by ingest inside its transaction; returns frames to
publish after the commit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from django.db import transaction
from django.db.models import Min
from django.db.models.functions import TruncMinute
from django.utils import timezone
from prometheus_client import Counter

from loraforge.core import live
from loraforge.instances.models import Attempt, Instance
from loraforge.nodes.models import Node
from loraforge.telemetry import policy, readings, selectors
from loraforge.telemetry.models import (
    LogChunk,
    LogGap,
    MetricRow,
    Sample,
    StreamPosition,
    TrainerEvent,
)
from loraforge.telemetry.pieces import Piece
from loraforge.telemetry.positions import position_advance, position_lock
from loraforge.telemetry.readings import Reading
from nodeagent.contract import reports
from nodeagent.contract.normalise import Normaliser

Frames = list[tuple[str, dict[str, Any]]]

ROW_BYTES = 1024 * 1024  # of a stored piece of a log at most
FRAME_BYTES = 32 * 1024  # of a log that one frame carries, so that no frame fills a client's buffer
FRAME_ROWS = 50
PARTIAL_CHARACTERS = 2_000
METRIC_DROP = frozenset({"log_history"})  # SWIFT's last line repeats the whole history
SAMPLE_FULL = timedelta(hours=1)
SAMPLE_KEPT = timedelta(days=7)
OPEN_LINES = 256  # attempts whose unfinished line is remembered in this process

UNREADABLE_LINES = Counter(
    "loraforge_unreadable_lines", "Lines of metrics or events that are no JSON object.", ["stream"]
)


@dataclass(frozen=True)
class Stored:
    """What became of pieces.

    committed_end: bytes [0, committed_end) of the stream are stored. gap: a piece began behind that and
    was not stored; ask the node for what lies between. unreadable: broken JSON lines among them.
    """

    committed_end: int
    gap: bool = False
    frames: Frames = field(default_factory=list)
    unreadable: int = 0
    events: list[TrainerEvent] = field(default_factory=list)


class _Written(NamedTuple):
    frames: Frames
    unreadable: int = 0
    events: list[TrainerEvent] = []


def chunk_store(
    *,
    attempt: Attempt,
    stream: reports.Stream,
    start: int,
    end: int,
    data: bytes,
    left_out: int | None = None,
) -> Stored:
    """Store bytes [start, end) of ``log``, ``metric`` or ``event``; doing it again changes nothing."""
    piece = Piece(start, end, data, left_out)
    return chunks_store(attempt=attempt, stream=stream, pieces=[piece])


@transaction.atomic(savepoint=False)
def chunks_store(*, attempt: Attempt, stream: reports.Stream, pieces: Sequence[Piece]) -> Stored:
    """`chunk_store` for many pieces in the order in which they came, in a handful of queries.

    Part of the caller's transaction where there is one: no savepoint is paid for.

    Raises ValueError for a piece whose data is not end - start bytes long, and for another stream.
    """
    if stream not in _WRITERS:
        message = f"{stream} is no stream of a file"
        raise ValueError(message)
    if stream != "log" and any(piece.left_out is not None for piece in pieces):
        message = f"nothing of {stream} is ever left out"
        raise ValueError(message)
    advance = position_advance(attempt=attempt, stream=stream, pieces=pieces)
    if not advance.runs:
        return Stored(advance.end, gap=advance.is_gap)
    written = _Written([], events=[])
    for run in advance.runs:
        fresh = (
            _WRITERS[stream](attempt, run.start, run.data)
            if run.left_out is None
            else _gap_write(attempt, run.start, run.end, run.left_out)
        )
        written.frames.extend(fresh.frames)
        written.events.extend(fresh.events)
        written = written._replace(unreadable=written.unreadable + fresh.unreadable)
    if stream == "log" and advance.size is not None and advance.end >= advance.size:
        written.frames.extend(_last_line_frames(attempt, advance.end))
    if written.unreadable:
        UNREADABLE_LINES.labels(stream).inc(written.unreadable)
    return Stored(advance.end, advance.is_gap, written.frames, written.unreadable, written.events)


# --- log ------------------------------------------------------------------------------------------------

_open_lines: dict[int, Normaliser] = {}


def _open_line_take(attempt: Attempt, position: int) -> Normaliser:
    """The normaliser that was fed everything before ``position``: remembered, else read from SQL.

    It is taken away while in use; what a rolled-back transaction left behind does not match and is read anew.
    """
    known = _open_lines.pop(attempt.pk, None)
    if known is not None and known.end == position:
        return known
    return selectors.log_open_line(attempt=attempt, position=position)


def _open_line_keep(attempt: Attempt, normaliser: Normaliser) -> None:
    while len(_open_lines) >= OPEN_LINES:
        _open_lines.pop(next(iter(_open_lines)), None)
    _open_lines[attempt.pk] = normaliser


def _log_write(attempt: Attempt, start: int, data: bytes) -> _Written:
    normaliser = _open_line_take(attempt, start)
    rows = []
    for at in range(0, len(data), ROW_BYTES):
        part = data[at : at + ROW_BYTES]
        begin = start + at
        rows.append(
            LogChunk(
                attempt=attempt,
                start=begin,
                end=begin + len(part),
                newlines=part.count(b"\n"),
                data=part,
            )
        )
    LogChunk.objects.bulk_create(rows, ignore_conflicts=True)
    frames: Frames = []
    topic = live.topic_job(attempt.instance_id)
    for at in range(0, len(data), FRAME_BYTES):
        begin = normaliser.position
        lines = normaliser.feed(data[at : at + FRAME_BYTES])
        if lines or at + FRAME_BYTES >= len(data):
            frames.append((topic, _log_frame(attempt, begin, normaliser, lines)))
    _open_line_keep(attempt, normaliser)
    return _Written(frames)


def _log_frame(
    attempt: Attempt, begin: int, normaliser: Normaliser, lines: list[str]
) -> dict[str, Any]:
    return {
        "type": "log",
        "attempt": attempt.number,
        "from": begin,
        "to": normaliser.position,
        "lines": lines,
        "partial": normaliser.partial[-PARTIAL_CHARACTERS:],
    }


def _gap_write(attempt: Attempt, start: int, end: int, lines: int) -> _Written:
    """Note what was left out; an unfinished line before it ends there."""
    frames = _last_line_frames(attempt, start)
    LogGap.objects.bulk_create(
        [LogGap(attempt=attempt, start=start, end=end, lines=lines)], ignore_conflicts=True
    )
    after = Normaliser(position=end)
    _open_line_keep(attempt, after)
    frame = {**_log_frame(attempt, start, after, []), "left_out": lines}
    return _Written([*frames, (live.topic_job(attempt.instance_id), frame)], events=[])


def _last_line_frames(attempt: Attempt, size: int) -> Frames:
    """The unfinished last line of a finished file counts as a line."""
    normaliser = _open_line_take(attempt, size)
    _open_line_keep(attempt, normaliser)
    if normaliser.position >= size:
        return []
    frame = {
        "type": "log",
        "attempt": attempt.number,
        "from": normaliser.position,
        "to": size,
        "lines": [normaliser.partial],
        "partial": "",
    }
    return [(live.topic_job(attempt.instance_id), frame)]


@transaction.atomic(savepoint=False)
def stream_sizes_store(*, attempt: Attempt, sizes: Mapping[str, int]) -> Frames:
    """Note the final sizes in bytes of an ended attempt's files (PhaseChange.sizes at ENDED)."""
    frames: Frames = []
    for stream, size in sizes.items():
        if stream not in _WRITERS:
            continue
        position = position_lock(attempt=attempt, stream=stream)
        if position.size is None:
            StreamPosition.objects.filter(pk=position.pk).update(size=size)
            if stream == "log" and 0 < size <= position.end:
                frames.extend(_last_line_frames(attempt, position.end))
    return frames


def streams_are_whole(*, attempt: Attempt) -> bool:
    """True when every file whose final size is known is stored to its end."""
    known = StreamPosition.objects.filter(attempt=attempt)
    return all(end >= (size or 0) for end, size in known.values_list("end", "size"))


# --- metric and event -----------------------------------------------------------------------------------


def _metric_write(attempt: Attempt, start: int, data: bytes) -> _Written:
    now = timezone.now()
    rows = []
    latest = policy.Progress()
    for row in policy.rows_at(data=data, position=start, drop=METRIC_DROP):
        progress = policy.progress_of(row.values)
        latest = latest._replace(
            **{name: value for name, value in progress._asdict().items() if value is not None}
        )
        rows.append(
            MetricRow(
                attempt_id=attempt.pk,
                start=row.start,
                end=row.end,
                step=progress.step,
                values=row.values,
                at=now,
            )
        )
    MetricRow.objects.bulk_create(rows, ignore_conflicts=True)
    topic = live.topic_job(attempt.instance_id)
    frames: Frames = [
        (topic, _metric_frame(attempt, rows[at : at + FRAME_ROWS]))
        for at in range(0, len(rows), FRAME_ROWS)
    ]
    frames.extend(_progress_apply(attempt, latest))
    return _Written(frames, sum(policy.UNREADABLE in row.values for row in rows))


def _metric_frame(attempt: Attempt, rows: Sequence[MetricRow]) -> dict[str, Any]:
    return {
        "type": "metric",
        "attempt": attempt.number,
        "from": rows[0].start,
        "to": rows[-1].end,
        "rows": [selectors.metric_plain(row, attempt=attempt.number) for row in rows],
    }


def _progress_apply(attempt: Attempt, progress: policy.Progress) -> Frames:
    """The instance's step, loss and time left; a late row of an earlier attempt changes nothing."""
    changes = {name: value for name, value in progress._asdict().items() if value is not None}
    if not changes:
        return []
    if progress.step is not None and attempt.first_step_at is None:
        attempt.first_step_at = timezone.now()  # the attempt may be remembered: once is enough
        Attempt.objects.filter(pk=attempt.pk, first_step_at=None).update(
            first_step_at=attempt.first_step_at
        )
    rows = Instance.objects.filter(pk=attempt.instance_id, attempt=attempt.number, deleted_at=None)
    return _status_frames(attempt) if rows.update(**changes) else []


def _status_frames(attempt: Attempt) -> Frames:
    """Of the instance as it is now, when this is the attempt that it is at."""
    instance = Instance.objects.filter(
        pk=attempt.instance_id, attempt=attempt.number, deleted_at=None
    ).first()
    if instance is None:
        return []
    frame = selectors.status_of(instance)
    return [(live.topic_job(instance.pk), frame), (live.topic_user(instance.owner_id), frame)]


def _event_write(attempt: Attempt, start: int, data: bytes) -> _Written:
    rows = [
        TrainerEvent(
            attempt_id=attempt.pk,
            start=row.start,
            end=row.end,
            name=str(row.values.get("event", ""))[:30],
            values=row.values,
        )
        for row in policy.rows_at(data=data, position=start)
    ]
    TrainerEvent.objects.bulk_create(rows, ignore_conflicts=True)
    frames: Frames = []
    if any(row.name == "plugin_loaded" for row in rows):
        unknown = Attempt.objects.filter(pk=attempt.pk, imported_at=None)
        if unknown.update(imported_at=timezone.now()):
            frames = _status_frames(attempt)
    return _Written(frames, sum(policy.UNREADABLE in row.values for row in rows), rows)


_WRITERS = {"log": _log_write, "metric": _metric_write, "event": _event_write}


# --- samples --------------------------------------------------------------------------------------------


def samples_store(found: Sequence[Reading]) -> Frames:
    """Keep readings; frames for the node pages, and for each running job that job's part."""
    rows = [
        Sample(node=one.node, at=one.at, values=msgspec.to_builtins(one.sample)) for one in found
    ]
    Sample.objects.bulk_create(rows)
    frames: Frames = []
    for one, row in zip(found, rows, strict=True):
        said = {"node": one.node.name, "at": one.at, "values": row.values}
        plain = readings.sample_of_node(**said)
        frames.append((live.TOPIC_NODES, {"type": "gpu", "rows": [plain]}))
        for attempt in one.attempts:
            part = readings.sample_of_attempt(attempt=attempt, **said)
            frames.append((live.topic_job(attempt.instance_id), {"type": "gpu", "rows": [part]}))
    return frames


def samples_thin(*, now: datetime | None = None) -> int:
    """Keep all readings of the last hour, one a minute before that, none older than a week; returns how many went."""
    now = now or timezone.now()
    gone, _by_model = Sample.objects.filter(at__lt=now - SAMPLE_KEPT).delete()
    for node_id in Node.objects.values_list("pk", flat=True):
        old = Sample.objects.filter(
            node_id=node_id, at__lt=(now - SAMPLE_FULL).replace(second=0, microsecond=0)
        )
        kept = (
            old.order_by()
            .annotate(minute=TruncMinute("at"))
            .values("minute")
            .annotate(first=Min("pk"))
        )
        count, _by_model = old.exclude(pk__in=list(kept.values_list("first", flat=True))).delete()
        gone += count
    return gone
