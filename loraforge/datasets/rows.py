"""Are these rows that SWIFT can train on? Pure and streaming; memory stays bounded whatever the file.

The formats are those that SWIFT's AutoPreprocessor tells apart by their columns
(swift/dataset/preprocessor/core.py, ms-swift 4.6.0). JSON is read strictly: NaN, lone surrogates and
broken UTF-8 are refused here, where SWIFT's loader would turn them into something else in silence.
"""

from collections.abc import Callable, Iterator
from typing import Any

import msgspec

MAX_LINE_BYTES = 16 * 1024**2
MAX_ERRORS = 20
PREVIEW_ROWS = 5
PREVIEW_TEXT = 400
PREVIEW_ITEMS = 12
PREVIEW_DEPTH = 6

BOM = b"\xef\xbb\xbf"
NOTE_BOM = "rows:bom"

MESSAGES = "messages"
CONVERSATIONS = "conversations"
INSTRUCTION = "instruction"
QUERY_RESPONSE = "query_response"
TEXT = "text"

ROLES = frozenset({"system", "user", "assistant", "tool", "tool_call", "tool_response"})
_ANSWER_ROLES = frozenset({"assistant", "tool_call"})
_SPEAKERS = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "bot": "assistant",
    "assistant": "assistant",
    "function_call": "tool_call",
    "tool_call": "tool_call",
    "function_response": "tool",
    "observation": "tool",
    "observations": "tool",
    "tool_response": "tool",
    "tool": "tool",
}
_QUERIES = ("query", "prompt", "input", "instruction", "question", "problem")
_ANSWERS = (
    "response", "answer", "output", "targets", "target", "answer_key", "answers", "solution",
    "completion",
)  # fmt: skip
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
    """What a file of rows turned out to be. It can be trained on when error_count is 0."""

    rows: int = 0
    row_format: str = ""
    error_count: int = 0
    errors: list[RowError] = []
    preview: list[Any] = []
    notes: list[str] = []


class _Refused(Exception):
    """A row that cannot be used; becomes a RowError once the line number is known."""

    def __init__(self, error_id: str, **params: Any) -> None:
        super().__init__(error_id)
        self.error_id = error_id
        self.params = params


def _check_content(message: dict[str, Any], content: Any, number: int) -> None:
    if isinstance(content, str) or (content is None and message.get("tool_calls")):
        return
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        return
    raise _Refused("rows:content_not_text", number=number)


def _check_dialogue(
    items: Any, column: str, read: Callable[[dict[str, Any], int], tuple[str, Any]]
) -> None:
    """A list of turns, the last one an answer. ``read`` gives role and content of one turn."""
    if not isinstance(items, list) or not items:
        raise _Refused("rows:not_a_list", column=column)
    role = ""
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise _Refused("rows:turn_not_an_object", column=column, number=number)
        role, content = read(item, number)
        _check_content(item, content, number)
    if role not in _ANSWER_ROLES:
        raise _Refused("rows:last_not_assistant", column=column)


def _read_message(item: dict[str, Any], number: int) -> tuple[str, Any]:
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise _Refused("rows:unknown_role", number=number, roles=", ".join(sorted(ROLES)))
    return role, item.get("content")


def _read_turn(item: dict[str, Any], number: int) -> tuple[str, Any]:
    speaker = item.get("from", item.get("role"))
    role = _SPEAKERS.get(speaker.replace("-", "_")) if isinstance(speaker, str) else None
    if role is None:
        raise _Refused("rows:unknown_role", number=number, roles=", ".join(sorted(_SPEAKERS)))
    return role, item.get("value", item.get("content"))


def _check_messages(row: dict[str, Any]) -> None:
    _check_dialogue(row["messages"], "messages", _read_message)


def _check_conversations(row: dict[str, Any]) -> None:
    column = "conversations" if "conversations" in row else "conversation"
    _check_dialogue(row[column], column, _read_turn)


def _check_text_column(row: dict[str, Any], column: str) -> None:
    if not isinstance(row[column], str):
        raise _Refused("rows:column_not_text", column=column)


def _answer_column(row: dict[str, Any]) -> str | None:
    return next((name for name in _ANSWERS if name in row), None)


def _check_instruction(row: dict[str, Any]) -> None:
    _check_text_column(row, "instruction")
    if row.get("input") is not None:
        _check_text_column(row, "input")
    answer = _answer_column(row)
    if answer is None:
        raise _Refused("rows:no_answer", columns="output")
    _check_text_column(row, answer)


def _check_query_response(row: dict[str, Any]) -> None:
    query = next(name for name in _QUERIES if name in row)
    if row[query] is not None:
        _check_text_column(row, query)
    answer = _answer_column(row)
    if answer is None:
        raise _Refused("rows:no_answer", columns="response")
    if not (isinstance(row[answer], list) and row[answer] and isinstance(row[answer][0], str)):
        _check_text_column(row, answer)


def _check_plain(row: dict[str, Any]) -> None:
    _check_text_column(row, "text")


_CHECKS: dict[str, Callable[[dict[str, Any]], None]] = {
    MESSAGES: _check_messages,
    CONVERSATIONS: _check_conversations,
    INSTRUCTION: _check_instruction,
    QUERY_RESPONSE: _check_query_response,
    TEXT: _check_plain,
}


def format_of(row: dict[str, Any]) -> str:
    """The format that a row's columns speak of, in SWIFT's order; empty when they say nothing."""
    if "messages" in row:
        return MESSAGES
    if "conversations" in row or "conversation" in row:
        return CONVERSATIONS
    if "instruction" in row:
        return INSTRUCTION
    if any(name in row for name in _QUERIES):
        return QUERY_RESPONSE
    return TEXT if "text" in row else ""


def preview_cut(value: Any, depth: int = 0) -> Any:
    """The value with long texts, long lists and deep nests cut, so that a row fits on a page.

    A zero byte is shown as ␀: rows may hold one, PostgreSQL's JSON may not.
    """
    if isinstance(value, str):
        return _shown(value) if len(value) <= PREVIEW_TEXT else _shown(value[:PREVIEW_TEXT]) + "…"
    if depth >= PREVIEW_DEPTH and isinstance(value, (dict, list)):
        return "…"
    if isinstance(value, list):
        kept = [preview_cut(item, depth + 1) for item in value[:PREVIEW_ITEMS]]
        return kept if len(value) <= PREVIEW_ITEMS else [*kept, "…"]
    if isinstance(value, dict):
        pairs = list(value.items())[:PREVIEW_ITEMS]
        return {_shown(key[:PREVIEW_TEXT]): preview_cut(item, depth + 1) for key, item in pairs}
    return value


def _shown(text: str) -> str:
    return text.replace("\0", "\u2400")


class RowChecker:
    """Feed a file's bytes in any pieces, then `finish`; the report is the same whatever the pieces."""

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._report = RowReport()
        self._decode = msgspec.json.Decoder().decode
        self._tail = b""
        self._line = 0
        self._is_skipping = False
        self._has_begun = False
        self._is_container = False
        self._max_line_bytes = max_line_bytes

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
        if len(self._tail) > self._max_line_bytes:
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
        if not self._report.rows and not self._report.error_count:
            self._refuse(0, "rows:empty")
        return self._report

    def _begin(self, data: bytes) -> bytes:
        self._has_begun = True
        for signature, name in _CONTAINERS.items():
            if data.startswith(signature):
                self._is_container = True
                self._refuse(0, "rows:container", container=name)
        if data.startswith(BOM):
            self._report.notes.append(NOTE_BOM)
            return data[len(BOM) :]
        return data

    def _refuse(self, line: int, error_id: str, **params: Any) -> None:
        self._report.error_count += 1
        if len(self._report.errors) < MAX_ERRORS:
            self._report.errors.append(RowError(line=line, id=error_id, params=params))

    def _take(self, line: bytes) -> None:
        self._line += 1
        if self._is_skipping or len(line) > self._max_line_bytes:
            self._is_skipping = False
            self._refuse(self._line, "rows:line_too_long", limit_bytes=self._max_line_bytes)
            return
        if not line.strip(b" \t\r"):
            return  # SWIFT's loader skips blank lines too
        try:
            self._take_row(line)
        except _Refused as refused:
            self._refuse(self._line, refused.error_id, **refused.params)

    def _take_row(self, line: bytes) -> None:
        row = _parse(self._decode, line)
        row_format = format_of(row)
        if not row_format:
            raise _Refused("rows:unknown_columns", columns=_names(row))
        if not self._report.row_format:
            self._report.row_format = row_format
        elif row_format != self._report.row_format:
            raise _Refused("rows:mixed", found=row_format, first=self._report.row_format)
        _CHECKS[row_format](row)
        self._report.rows += 1
        if len(self._report.preview) < PREVIEW_ROWS:
            self._report.preview.append(preview_cut(row))


def _names(row: dict[str, Any]) -> str:
    """The first column names of a row, short: names are no secret, contents may be."""
    return ", ".join(_shown(name[:30]) for name in list(row)[:PREVIEW_ITEMS])


def _parse(decode: Callable[[bytes], Any], line: bytes) -> dict[str, Any]:
    try:
        row = decode(line)
    except (msgspec.DecodeError, RecursionError, MemoryError) as error:
        raise _Refused("rows:not_json", detail=str(error)[:120]) from error
    except UnicodeDecodeError as error:
        raise _Refused("rows:not_utf8") from error
    if not isinstance(row, dict):
        raise _Refused("rows:not_an_object")
    return row


def rows_read(lines: Iterator[bytes], *, offset: int, limit: int) -> list[Any]:
    """Rows [offset, offset + limit) of a checked file, each cut for a page; blank lines do not count."""
    decode = msgspec.json.Decoder().decode
    found: list[Any] = []
    number = 0
    for line in lines:
        text = line.removeprefix(BOM).strip() if number == 0 else line.strip()
        if not text:
            continue
        if number >= offset:
            try:
                found.append(preview_cut(_parse(decode, text)))
            except _Refused as refused:
                found.append({"error": refused.error_id})
            if len(found) >= limit:
                break
        number += 1
    return found
