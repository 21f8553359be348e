"""Pure rules of streams: cursors, lines with their positions, metric lines, points of a chart."""

import io
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from nodeagent.contract.normalise import MAX_LINE_BYTES, Normaliser

_CURSOR = re.compile(r"(\d{1,9}):(\d{1,18})")
_STEP = re.compile(r"(\d{1,18})/(\d{1,18})")
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_DURATION = re.compile(r"(\d+)\s*([dhms])")
_SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}

UNREADABLE = "unreadable"
UNREADABLE_CHARACTERS = 1_000  # of a broken line that are kept
VALUES_BYTES = 64 * 1024  # of a row; SWIFT's rows have some hundred
STEP_MAX = 2**62
INTEGER_MAX = 2**63 - 1  # of a column, and of what any reader of JSON takes
DURATION_MAX_S = 100 * 366 * 86_400
DURATION_CHARACTERS = 40


class Cursor(NamedTuple):
    """Where a reader stands: before byte ``position`` of the file of attempt ``attempt``; 0 = before all."""

    attempt: int
    position: int

    def __str__(self) -> str:
        return f"{self.attempt}:{self.position}"


START = Cursor(0, 0)


def cursor_parse(text: str) -> Cursor:
    """``<attempt>:<position>``; empty or ``0`` is the beginning. Raises ValueError."""
    if text in {"", "0"}:
        return START
    found = _CURSOR.fullmatch(text)
    if found is None or not text.isascii():
        message = f"not a cursor: {text[:40]!r}"
        raise ValueError(message)
    return Cursor(int(found[1]), int(found[2]))


# --- lines of a log ----------------------------------------------------------------------------------


class Line(NamedTuple):
    """A line of a log and the position behind it."""

    end: int
    text: str


def lines_at(*, data: bytes, position: int) -> Iterator[Line]:
    """The complete lines of bytes that begin at ``position``, each with where it ends."""
    normaliser = Normaliser(position=position)
    for piece in io.BytesIO(data):
        begin = normaliser.position
        texts = normaliser.feed(piece)
        for number, text in enumerate(texts, start=1):
            # Only a line that was too long is broken before its newline.
            whole = number == len(texts)
            yield Line(normaliser.position if whole else begin + number * MAX_LINE_BYTES, text)


def line_start(*, newline_end: int, position: int) -> int:
    """Where the line at ``position`` begins, when the last newline before it ends at ``newline_end``."""
    return newline_end + (position - newline_end) // MAX_LINE_BYTES * MAX_LINE_BYTES


# --- lines of logging.jsonl and events.jsonl ------------------------------------------------------------


class Row(NamedTuple):
    """One line of a JSONL file at bytes [start, end); values has only ``unreadable`` when it was broken."""

    start: int
    end: int
    values: dict[str, Any]


def rows_at(*, data: bytes, position: int, drop: frozenset[str] = frozenset()) -> list[Row]:
    """The rows of bytes that begin at ``position``; blank lines are none. ``drop``: keys left out."""
    rows = []
    for piece in io.BytesIO(data):
        end = position + len(piece)
        line = piece.strip()
        if line:
            rows.append(Row(position, end, _values(line, drop)))
        position = end
    return rows


def _values(line: bytes, drop: frozenset[str]) -> dict[str, Any]:
    try:
        values = _decode(line)
    except (ValueError, RecursionError):
        return _unreadable(line)
    if not isinstance(values, dict):
        return _unreadable(line)
    for key in drop:
        values.pop(key, None)
    if len(line) > VALUES_BYTES and len(msgspec.json.encode(values)) > VALUES_BYTES:
        return _unreadable(line)
    return values


def _unreadable(line: bytes) -> dict[str, Any]:
    text = line[: UNREADABLE_CHARACTERS * 4].decode("utf-8", "replace").replace("\x00", "\u2400")
    return {UNREADABLE: text[:UNREADABLE_CHARACTERS]}


def _decode(line: bytes) -> Any:
    """JSON as Python's json module writes it: bare NaN and Infinity become null, as do integers beyond 64 bits."""
    if b"\\u" not in line and _LONG_NUMBER.search(line) is None:
        try:
            return msgspec.json.decode(line)
        except msgspec.DecodeError:
            pass  # NaN, Infinity, 1e999, or really broken: the slow way tells
    return _storable(json.loads(line, parse_constant=lambda _name: None))


def _storable(value: Any) -> Any:
    """What every database takes: no infinity, no integer beyond 64 bits, no NUL, no lone surrogate."""
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, int):
        return value if -INTEGER_MAX <= value <= INTEGER_MAX else None
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode().replace("\x00", "\u2400")
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {_storable(key): _storable(item) for key, item in value.items()}
    return value


class Progress(NamedTuple):
    """What a metric row says about how far the training is; None = it says nothing."""

    step: int | None = None
    max_steps: int | None = None
    loss: float | None = None
    eta_s: int | None = None


def progress_of(values: dict[str, Any]) -> Progress:
    """Of a row of SWIFT 4.6's logging.jsonl (``"global_step/max_steps": "5/23"``)."""
    step, max_steps = _steps(values)
    loss = values.get("loss")
    return Progress(
        step=step,
        max_steps=max_steps,
        loss=float(loss) if isinstance(loss, (int, float)) and not isinstance(loss, bool) else None,
        eta_s=duration_s(values.get("remaining_time")),
    )


def _steps(values: dict[str, Any]) -> tuple[int | None, int | None]:
    found = _STEP.fullmatch(str(values.get("global_step/max_steps", "")))
    if found:
        return min(int(found[1]), STEP_MAX), min(int(found[2]), STEP_MAX)
    return step_of(values.get("global_step")), None


def step_of(value: object) -> int | None:
    """A training step as a trainer wrote it; None for whatever is none."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= STEP_MAX:
        return value
    return None


def duration_s(text: object) -> int | None:
    """Seconds of SWIFT's ``2h 15m 3s``; None for anything else."""
    if not isinstance(text, str) or len(text) > DURATION_CHARACTERS:
        return None
    parts = _DURATION.findall(text)
    seconds = sum(int(number) * _SECONDS[unit] for number, unit in parts)
    return seconds if parts and seconds <= DURATION_MAX_S else None


# --- points of a chart ------------------------------------------------------------------------------------


class Point(NamedTuple):
    """One value of a series at a step."""

    step: int
    value: float


def points_thin(points: Sequence[Point], *, limit: int) -> list[Point]:
    """At most ``limit`` points that keep the look of the curve: first, last, lowest and highest of each part."""
    if len(points) <= limit:
        return list(points)
    inner = points[1:-1]
    parts = max(1, (limit - 2) // 2)
    kept = [points[0]]
    for number in range(parts):
        part = inner[number * len(inner) // parts : (number + 1) * len(inner) // parts]
        if part:
            low = min(part, key=lambda point: point.value)
            high = max(part, key=lambda point: point.value)
            kept.extend(sorted({low, high}))
    return [*kept, points[-1]]
