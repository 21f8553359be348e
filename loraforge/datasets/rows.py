"""Are these rows that SWIFT can train on? Pure and streaming; memory stays bounded whatever the file.

JSON is read strictly: NaN, lone surrogates and broken UTF-8 are refused here, where SWIFT's loader would
turn them into something else in silence. What a row means, `rowformats` knows.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from loraforge.datasets import rowformats
from loraforge.datasets.rowformats import Refused, Row
from loraforge.datasets.rowindex import IndexMaker, row_hash
from loraforge.datasets.statistics import Counting, Statistics

MAX_LINE_BYTES = 16 * 1024**2
MAX_ERRORS = 20
COLUMNS_MAX = 100
PREVIEW_ROWS = 5
PREVIEW_TEXT = 400
PREVIEW_ITEMS = 12
PREVIEW_DEPTH = 6
PREVIEW_LEFT = 8192  # characters and parts of a row
SHOWN_BYTES = 256 * 1024  # of a line that is read for a page

BOM = b"\xef\xbb\xbf"
NOTE_BOM = "rows:bom"
TEXT = rowformats.TEXT

_CONTAINERS = {
    b"PK\x03\x04": "zip",
    b"PK\x05\x06": "zip",
    b"\x1f\x8b": "gzip",
    b"PAR1": "Parquet",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"7z\xbc\xaf": "7z",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}


class RowError(msgspec.Struct, frozen=True, kw_only=True):
    """What is wrong with a line (0 = with the whole file). id and params choose the text."""

    line: int
    id: str
    params: dict[str, Any] = {}


class RowReport(msgspec.Struct, kw_only=True):
    """What a file of rows turned out to be. It can be trained on when error_count is 0.

    traits: what its rows bring besides questions (`rowformats`). columns: their names as uploaded. rewards: of a file
    with code, what it registers (`codecheck`).
    """

    rows: int = 0
    row_format: str = ""
    traits: list[str] = []
    columns: list[str] = []
    error_count: int = 0
    errors: list[RowError] = []
    rewards: list[str] = []
    preview: list[Any] = []
    notes: list[str] = []
    statistics: Statistics | None = None


def preview_cut(value: Any) -> Any:
    """The value with long texts, long lists and deep nests cut, so that a row fits on a page.

    A zero byte is shown as ␀: rows may hold one, PostgreSQL's JSON may not.
    """
    return _cut(value, 0, [PREVIEW_LEFT])


def _cut(value: Any, depth: int, left: list[int]) -> Any:
    """left: characters and parts that the whole row may still have, in a list since all levels count it down."""
    left[0] -= 1
    if left[0] < 0 or (depth >= PREVIEW_DEPTH and isinstance(value, (dict, list))):
        return "…"
    if isinstance(value, str):
        text = _shown(value[:PREVIEW_TEXT])
        left[0] -= len(text)
        return text if len(value) <= PREVIEW_TEXT else f"{text}…"
    if isinstance(value, list):
        kept = [_cut(item, depth + 1, left) for item in value[:PREVIEW_ITEMS]]
        return kept if len(value) <= PREVIEW_ITEMS else [*kept, "…"]
    if isinstance(value, dict):
        pairs = list(value.items())[:PREVIEW_ITEMS]
        left[0] -= sum(min(len(key), PREVIEW_TEXT) for key, _item in pairs)
        return {_shown(key[:PREVIEW_TEXT]): _cut(item, depth + 1, left) for key, item in pairs}
    return value


def _shown(text: str) -> str:
    return text.replace("\0", "\u2400")


class RowChecker:
    """Feed a file's bytes in any pieces, then `finish`; the report is the same whatever the pieces.

    columns: name of a column -> SWIFT's name for it. index: is told every row.
    """

    def __init__(
        self,
        *,
        max_line_bytes: int = MAX_LINE_BYTES,
        columns: Mapping[str, str] | None = None,
        index: IndexMaker | None = None,
    ) -> None:
        self._report = RowReport()
        self._decode = msgspec.json.Decoder().decode
        self._tail = b""
        self._line = 0
        self._position = 0  # in the file, of the line to come
        self._is_skipping = False
        self._has_begun = False
        self._is_container = False
        self._max_line_bytes = max_line_bytes
        self._mapping = dict(columns or {})
        self._index = index
        self._counting = Counting()
        self._columns: dict[str, None] = {}
        self._kind: frozenset[str] = frozenset()
        self._media: set[str] = set()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the file."""
        data = self._tail + data if self._tail else data
        if not self._has_begun:
            if len(data) < 8:  # noqa: PLR2004 - room for the longest signature
                self._tail = data
                return
            data = self._begin(data)
        if self._is_container:
            self._tail = b""
            return
        *lines, self._tail = data.split(b"\n")
        for line in lines:
            self._take(line)
            self._position += len(line) + 1
        if len(self._tail) > self._max_line_bytes:
            self._position += len(self._tail)
            self._tail = b""
            self._is_skipping = True

    def finish(self) -> RowReport:
        """The report over all that was fed."""
        if not self._has_begun:
            begun = self._begin(self._tail)
            self._tail = b""
            self.feed(begun)
        if not self._is_container and (self._tail or self._is_skipping):
            self._take(self._tail)
        report = self._report
        if not report.rows and not report.error_count:
            self.refuse(0, "rows:empty")
        report.traits = sorted(self._kind | self._media)
        report.columns = list(self._columns)
        return report

    def statistics(self, *, duplicates: int, is_estimate: bool) -> Statistics:
        """What was counted on the way."""
        return self._counting.statistics(duplicates=duplicates, is_estimate=is_estimate)

    def refuse(self, line: int, error_id: str, **params: Any) -> None:
        """Note an error; 0 is the whole file."""
        self._report.error_count += 1
        if len(self._report.errors) < MAX_ERRORS:
            shown = {name: _shown(v) if isinstance(v, str) else v for name, v in params.items()}
            self._report.errors.append(RowError(line=line, id=error_id, params=shown))

    def note(self, note: str) -> None:
        """Note what was tolerated or changed."""
        self._report.notes.append(note)

    @property
    def error_count(self) -> int:
        """How many errors so far."""
        return self._report.error_count

    @property
    def rows_seen(self) -> int:
        """Lines so far, good and bad."""
        return self._line

    def _begin(self, data: bytes) -> bytes:
        self._has_begun = True
        for signature, name in _CONTAINERS.items():
            if data.startswith(signature):
                self._is_container = True
                self.refuse(0, "rows:container", container=name)
        if data.startswith(BOM):
            self.note(NOTE_BOM)
            self._position = len(BOM)
            return data[len(BOM) :]
        return data

    def _take(self, line: bytes) -> None:
        self._line += 1
        if self._is_skipping or len(line) > self._max_line_bytes:
            self._is_skipping = False
            self.refuse(self._line, "rows:line_too_long", limit_bytes=self._max_line_bytes)
            return
        if not line.strip(b" \t\r"):
            return  # SWIFT's loader skips blank lines too
        try:
            self._take_row(line)
        except Refused as refused:
            self.refuse(self._line, refused.error_id, **refused.params)

    def _take_row(self, line: bytes) -> None:
        plain = _parse(self._decode, line)
        self._columns_note(plain)
        given = rowformats.renamed(plain, self._mapping) if self._mapping else plain
        if not rowformats.format_of(given):
            if not self._report.preview:  # people see by it what the columns are
                self._report.preview.append(preview_cut(plain))
            raise Refused("rows:unknown_columns", columns=_names(given))
        row = rowformats.row_read(given)
        self._kind_check(row)
        self._report.rows += 1
        self._counting.add(row.turns)
        if self._index is not None:
            self._index.add(self._position, row_hash(row.turns))
        if len(self._report.preview) < PREVIEW_ROWS:
            self._report.preview.append(preview_cut(plain))

    def _columns_note(self, row: dict[str, Any]) -> None:
        if len(self._columns) < COLUMNS_MAX and not row.keys() <= self._columns.keys():
            for name in list(row)[:COLUMNS_MAX]:
                self._columns[_shown(name[:100])] = None

    def _kind_check(self, row: Row) -> None:
        """All rows of a file are of one kind; media may stand in some."""
        media = row.traits.intersection(rowformats.MEDIA)
        kind = row.traits - media
        self._media |= media
        if not self._report.row_format:
            self._report.row_format, self._kind = row.row_format, kind
        elif row.row_format != self._report.row_format:
            raise Refused("rows:mixed", found=row.row_format, first=self._report.row_format)
        elif kind != self._kind:
            if self._kind - kind == {rowformats.ANSWER}:
                raise rowformats.answer_missing(row)
            first, found = (", ".join(sorted(one)) or "-" for one in (self._kind, kind))
            raise Refused("rows:mixed_traits", found=found, first=first)


def _names(row: Mapping[str, Any]) -> str:
    """The first column names of a row, short: names are no secret, contents may be."""
    return ", ".join(_shown(name[:30]) for name in list(row)[:PREVIEW_ITEMS])


def _parse(decode: Callable[[bytes], Any], line: bytes) -> dict[str, Any]:
    try:
        row = decode(line)
    except MemoryError as error:
        raise Refused("rows:too_complex") from error
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused("rows:not_json", detail=str(error)[:120]) from error
    except UnicodeDecodeError as error:
        raise Refused("rows:not_utf8") from error
    if not isinstance(row, dict):
        raise Refused("rows:not_an_object")
    return row


def rows_read(lines: Iterator[bytes], *, offset: int, limit: int, first: int = 0) -> list[Any]:
    """Rows [offset, offset + limit) of a checked file, each cut for a page; blank lines do not count.

    first: the number of the row with which ``lines`` begins.
    """
    decode = msgspec.json.Decoder().decode
    found: list[Any] = []
    number = first
    for line in lines:
        text = line.removeprefix(BOM).strip() if number == 0 else line.strip()
        if not text:
            continue
        if number >= offset:
            found.append(_row_shown(decode, text))
            if len(found) >= limit:
                break
        number += 1
    return found


def _row_shown(decode: Callable[[bytes], Any], text: bytes) -> Any:
    """A row of a page. This runs beside requests, without the limits of a check: nothing large is read."""
    if len(text) > SHOWN_BYTES:
        return {"error": "rows:too_complex"}
    try:
        return preview_cut(_parse(decode, text))
    except Refused as refused:
        return {"error": refused.error_id}
