"""JSON lists and CSV tables become JSON lines, piece by piece, in bounded memory. Pure.

SWIFT's loader reads a JSON list whole into memory, and guesses types in CSV columns: an answer "42" becomes
a number there, and no text. JSON lines it reads as they are.
"""

import csv
import re
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from loraforge.datasets.rowformats import Refused
from loraforge.datasets.rows import BOM, MAX_LINE_BYTES

Read = Callable[[int], bytes]

PIECE_BYTES = 1024**2
COLUMNS_MAX = 1000
_STRUCTURE = re.compile(rb'["{}\[\]]')
_IN_STRING = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_BETWEEN = re.compile(rb"[ \t\r\n]*")
# Cells of these columns are JSON where they look like it; all others are texts.
_STRUCTURED = frozenset(
    {"messages", "conversations", "conversation", "history", "images", "videos", "audios", "tools"}
    | {"objects", "rejected_messages", "positive_messages", "negative_messages", "label", "margin"}
    | {"chat_template_kwargs"}
)
_DELIMITERS = ",;\t|"


class Elements:
    """The objects of a JSON list as lines, each as it stands there, line breaks between its parts aside.

    Raises Refused when the list is none, ends early, or holds something else than objects.
    """

    def __init__(self, read: Read, *, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._read = read
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._place = 0  # up to here the buffer is understood

    def __iter__(self) -> Iterator[bytes]:
        self._begin()
        found = self._next()
        while found != b"]":
            if not found:
                raise Refused("rows:list_broken", detail="]")
            if found != b"{":
                raise Refused("rows:list_of_others")
            yield self._element()
            found = self._after()
        self._place += 1
        if self._next():
            raise Refused("rows:after_list")

    def _begin(self) -> None:
        self._more()
        if self._buffer.startswith(BOM):
            self._place = len(BOM)
        if self._next() != b"[":
            raise Refused("rows:list_broken", detail="[")
        self._place += 1

    def _after(self) -> bytes:
        """What follows an element and its comma: the next element, or the end of the list."""
        found = self._next()
        if found == b"]":
            return found
        if found != b",":
            raise Refused("rows:list_broken", detail="]" if not found else "','")
        self._place += 1
        found = self._next()
        if found == b"]":
            raise Refused("rows:list_of_others")
        return found

    def _more(self) -> bool:
        data = self._read(PIECE_BYTES)
        self._buffer += data
        return bool(data)

    def _next(self) -> bytes:
        """The next byte that is no space, not taken yet; empty at the end."""
        while True:
            gap = _BETWEEN.match(self._buffer, self._place)
            self._place = gap.end() if gap else self._place
            if self._place < len(self._buffer):
                return bytes(self._buffer[self._place : self._place + 1])
            del self._buffer[: self._place]
            self._place = 0
            if not self._more():
                return b""

    def _element(self) -> bytes:
        """From the opening brace at the place to its closing one. Raises Refused."""
        del self._buffer[: self._place]
        place = depth = 0
        is_text = False
        while True:
            if is_text:
                text = _IN_STRING.match(self._buffer, place)
                place = text.end() if text else place
                if place < len(self._buffer) and self._buffer[place : place + 1] == b'"':
                    place, is_text = place + 1, False
                else:
                    self._grow()
                continue
            mark = _STRUCTURE.search(self._buffer, place)
            if mark is None:
                place = len(self._buffer)
                self._grow()
                continue
            place = mark.end()
            if mark[0] == b'"':
                is_text = True
                continue
            depth += 1 if mark[0] in b"{[" else -1
            if depth == 0:
                self._place = place
                return bytes(self._buffer[:place]).replace(b"\n", b" ").replace(b"\r", b" ")

    def _grow(self) -> None:
        if len(self._buffer) > self._max_bytes:
            raise Refused("rows:line_too_long", limit_bytes=self._max_bytes)
        if not self._more():
            raise Refused("rows:list_broken", detail="}")


class Table:
    """The rows of a CSV file as lines. Raises Refused."""

    def __init__(self, read: Read, *, delimiter: str = "", max_bytes: int = MAX_LINE_BYTES) -> None:
        self._read = read
        self._delimiter = delimiter
        self._max_bytes = max_bytes
        self._taken = 0  # bytes of the row that is being read

    def __iter__(self) -> Iterator[bytes]:
        csv.field_size_limit(self._max_bytes)
        lines = self._lines()
        first = next(lines, "")
        delimiter = self._delimiter or _delimiter_of(first)
        reader = csv.reader(_chained(first, lines), delimiter=delimiter, strict=True)
        encode = msgspec.json.Encoder().encode
        try:
            header = _header(next(reader, []))
            for cells in reader:
                self._taken = 0
                if cells:
                    yield encode(_row(header, cells))
        except csv.Error as error:
            raise Refused("rows:csv_broken", detail=str(error)[:120]) from error

    def _lines(self) -> Iterator[str]:
        tail = b""
        is_first = True
        while data := self._read(PIECE_BYTES):
            if is_first:
                data, is_first = data.removeprefix(BOM), False
            *whole, tail = (tail + data if tail else data).split(b"\n")
            for line in whole:
                yield self._text(line + b"\n")
            self._bound(len(tail))
        if tail:
            yield self._text(tail)

    def _text(self, line: bytes) -> str:
        self._taken += len(line)
        self._bound(0)
        try:
            return line.decode()
        except UnicodeDecodeError as error:
            raise Refused("rows:csv_not_utf8") from error

    def _bound(self, more: int) -> None:
        if self._taken + more > self._max_bytes:
            raise Refused("rows:line_too_long", limit_bytes=self._max_bytes)


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest


def _delimiter_of(header: str) -> str:
    """Spreadsheets of some countries write ; or a tab instead of a comma."""
    return max(_DELIMITERS, key=header.count) if header else ","


def _header(names: list[str]) -> list[str]:
    header = [name.strip() for name in names]
    if not any(header):
        raise Refused("rows:empty")
    if len(header) > COLUMNS_MAX:
        raise Refused("rows:too_many_columns", limit=COLUMNS_MAX)
    named = [name for name in header if name]
    if len(set(named)) != len(named):
        twice = next(name for name in named if named.count(name) > 1)
        raise Refused("rows:column_twice", column=twice[:60])
    return header


def _row(header: list[str], cells: list[str]) -> dict[str, Any]:
    if len(cells) != len(header):
        raise Refused("rows:cells_differ", found=len(cells), wanted=len(header))
    pairs = zip(header, cells, strict=True)
    return {name: _cell(name, cell) for name, cell in pairs if name and cell != ""}


def _cell(name: str, cell: str) -> Any:
    if name not in _STRUCTURED:
        return cell
    plain = cell.strip()
    if plain in {"True", "False"}:
        return plain == "True"
    try:
        return msgspec.json.decode(plain)
    except (msgspec.DecodeError, RecursionError):
        return cell
