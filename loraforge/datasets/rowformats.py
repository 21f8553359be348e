"""What one row is: its format, its turns, and what it brings besides. Pure.

The formats are those that SWIFT's AutoPreprocessor tells apart by their columns
(swift/dataset/preprocessor/core.py, ms-swift 4.6.0); what a row brings besides decides which kinds of job
can use it.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

MESSAGES = "messages"
CONVERSATIONS = "conversations"
INSTRUCTION = "instruction"
QUERY_RESPONSE = "query_response"
TEXT = "text"

# What a row brings besides questions; every row of a file brings the same, the media excepted.
ANSWER, REJECTED, LABEL, POSITIVE = "answer", "rejected", "label", "positive"
MEDIA = ("images", "videos", "audios")

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
QUERIES = ("query", "prompt", "input", "instruction", "question", "problem")
ANSWERS = (
    "response", "answer", "output", "targets", "target", "answer_key", "answers", "solution",
    "completion",
)  # fmt: skip
_PAIRED = (("user", ("user", "human")), ("assistant", ("assistant", "gpt", "bot")))
_MEDIA_COLUMNS = {one: kind for kind in MEDIA for one in (kind, kind[:-1])}
_BESIDES = frozenset(
    {"rejected_response", "rejected_messages", "label", "positive_messages", "negative_messages"}
    | set(_MEDIA_COLUMNS)
)

Turn = tuple[str, str]  # role in SWIFT's words, text


class Refused(Exception):
    """A row that cannot be used; becomes a RowError once the line number is known."""

    def __init__(self, error_id: str, **params: Any) -> None:
        super().__init__(error_id)
        self.error_id = error_id
        self.params = params


class Row(msgspec.Struct, frozen=True):
    """A row that was understood."""

    row_format: str
    turns: list[Turn]
    traits: frozenset[str]


def _content_text(message: Mapping[str, Any], content: Any, number: int) -> str:
    if isinstance(content, str):
        return content
    if content is None and message.get("tool_calls"):
        return ""
    if isinstance(content, list) and content and all(isinstance(part, dict) for part in content):
        return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
    raise Refused("rows:content_not_text", number=number)


def _dialogue(
    items: Any, column: str, read: Callable[[Mapping[str, Any], int], list[Turn]]
) -> list[Turn]:
    if not isinstance(items, list) or not items:
        raise Refused("rows:not_a_list", column=column)
    turns: list[Turn] = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise Refused("rows:turn_not_an_object", column=column, number=number)
        turns += read(item, number)
    return turns


def _message(item: Mapping[str, Any], number: int) -> list[Turn]:
    role = item.get("role")
    if not isinstance(role, str) or role not in ROLES:
        raise Refused("rows:unknown_role", number=number, roles=", ".join(sorted(ROLES)))
    return [(role, _content_text(item, item.get("content"), number))]


def _turn(item: Mapping[str, Any], number: int) -> list[Turn]:
    """ShareGPT: {"from", "value"}, or a question and its answer in one object."""
    speaker = item.get("from", item.get("role"))
    if speaker is None and not item.keys() & {"content", "value"}:
        paired = [(role, item[name]) for role, names in _PAIRED for name in names if name in item]
        if len(paired) == 2:  # noqa: PLR2004 - a question and its answer
            return [(role, _content_text(item, said, number)) for role, said in paired]
    role = _SPEAKERS.get(speaker.replace("-", "_")) if isinstance(speaker, str) else None
    if role is None:
        raise Refused("rows:unknown_role", number=number, roles=", ".join(sorted(_SPEAKERS)))
    return [(role, _content_text(item, item.get("value", item.get("content")), number))]


def _listed(value: Any, column: str) -> Any:
    """Turns that stand in a text as JSON, as in CSV files: SWIFT reads these too."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refused("rows:not_a_list", column=column) from error


def _messages(row: Mapping[str, Any]) -> list[Turn]:
    return _dialogue(_listed(row["messages"], "messages"), "messages", _message)


def _conversations(row: Mapping[str, Any]) -> list[Turn]:
    column = "conversations" if "conversations" in row else "conversation"
    turns = _dialogue(_listed(row[column], column), column, _turn)
    return _with_system(row, turns)


def _with_system(row: Mapping[str, Any], turns: list[Turn]) -> list[Turn]:
    system = row.get("system", row.get("system_prompt"))
    if system is None:
        return turns
    if not isinstance(system, str):
        raise Refused("rows:column_not_text", column="system")
    return [("system", system), *turns]


def _text_of(row: Mapping[str, Any], column: str) -> str:
    value = row[column]
    if not isinstance(value, str):
        raise Refused("rows:column_not_text", column=column)
    return value


def _answer(row: Mapping[str, Any]) -> list[Turn]:
    column = next((name for name in ANSWERS if row.get(name) is not None), None)
    if column is None:
        return []
    value = row[column]
    if isinstance(value, list) and value and isinstance(value[0], str):
        return [("assistant", value[0])]
    return [("assistant", _text_of(row, column))]


def _instruction(row: Mapping[str, Any]) -> list[Turn]:
    asked = _text_of(row, "instruction")
    if row.get("input") is not None:
        asked = f"{asked}\n{_text_of(row, 'input')}"
    return _with_system(row, [("user", asked), *_answer(row)])


def _query_response(row: Mapping[str, Any]) -> list[Turn]:
    query = next(name for name in QUERIES if name in row)
    asked = [] if row[query] is None else [("user", _text_of(row, query))]
    return _with_system(row, [*asked, *_answer(row)])


def _plain(row: Mapping[str, Any]) -> list[Turn]:
    return [("assistant", _text_of(row, "text"))]


_READERS: dict[str, Callable[[Mapping[str, Any]], list[Turn]]] = {
    MESSAGES: _messages,
    CONVERSATIONS: _conversations,
    INSTRUCTION: _instruction,
    QUERY_RESPONSE: _query_response,
    TEXT: _plain,
}


def format_of(row: Mapping[str, Any]) -> str:
    """The format that a row's columns speak of, in SWIFT's order; empty when they say nothing."""
    if "messages" in row:
        return MESSAGES
    if "conversations" in row or "conversation" in row:
        return CONVERSATIONS
    if "instruction" in row:
        return INSTRUCTION
    if any(name in row for name in QUERIES):
        return QUERY_RESPONSE
    return TEXT if "text" in row else ""


def _rejected(row: Mapping[str, Any], turns: list[Turn]) -> bool:
    """Whether it has a worse answer. Raises Refused when that is none."""
    said = row.get("rejected_response")
    if said is not None:
        many = said if isinstance(said, list) else [said]
        if not many or not all(isinstance(one, str) for one in many):
            raise Refused("rows:column_not_text", column="rejected_response")
        if turns and turns[-1] == ("assistant", said):
            raise Refused("rows:rejected_is_answer")
        return True
    messages = row.get("rejected_messages")
    if messages is None:
        return False
    worse = _dialogue(_listed(messages, "rejected_messages"), "rejected_messages", _message)
    if worse[-1][0] not in _ANSWER_ROLES:
        raise Refused("rows:last_not_assistant", column="rejected_messages")
    return True


def _labelled(row: Mapping[str, Any]) -> bool:
    label = row.get("label")
    if label is None:
        return False
    many = label if isinstance(label, list) else [label]
    if not all(isinstance(one, (bool, int, float)) for one in many):
        raise Refused("rows:label_not_number")
    return True


def _compared(row: Mapping[str, Any]) -> bool:
    """Whether it has what belongs together, for embedding and reranking: one dialogue or several."""
    for column in ("positive_messages", "negative_messages"):
        given = row.get(column)
        if given is None:
            continue
        if not isinstance(given, list):
            raise Refused("rows:not_a_list", column=column)
        for one in given if given and isinstance(given[0], list) else [given] if given else []:
            _dialogue(one, column, _message)
    return bool(row.get("positive_messages"))


def _media_require(row: Mapping[str, Any], column: str) -> None:
    """Raises Refused where a column of media names no files."""
    given = row[column]
    many = given if isinstance(given, list) else [] if given is None else [given]
    named = [one.get("path") if isinstance(one, dict) else one for one in many]
    if not all(isinstance(one, str) and one for one in named):
        raise Refused("rows:media_not_paths", column=column)


def row_read(row: Mapping[str, Any]) -> Row:
    """Understand a row. Raises Refused."""
    row_format = format_of(row)
    if not row_format:
        raise Refused("rows:unknown_columns", columns="")
    turns = _READERS[row_format](row)
    traits = {ANSWER} if turns and turns[-1][0] in _ANSWER_ROLES else set()
    besides = _BESIDES & row.keys()
    if besides:
        found = (
            (REJECTED, _rejected(row, turns)),
            (LABEL, _labelled(row)),
            (POSITIVE, _compared(row)),
        )
        traits |= {name for name, is_there in found if is_there}
        for column in sorted(besides & _MEDIA_COLUMNS.keys()):
            _media_require(row, column)
            traits.add(_MEDIA_COLUMNS[column])
    return Row(row_format, turns, frozenset(traits))


def answer_missing(row: Row) -> Refused:
    """What to say of a row that has no answer where the others have one."""
    columns = {INSTRUCTION: "output", QUERY_RESPONSE: "response"}
    if row.row_format in columns:
        return Refused("rows:no_answer", columns=columns[row.row_format])
    return Refused("rows:last_not_assistant", column=row.row_format)


def renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    """The row as SWIFT has it after `--columns`: names compared without case."""
    lower = {name.lower(): target for name, target in columns.items()}
    return {lower.get(name.lower(), name): value for name, value in row.items()}
