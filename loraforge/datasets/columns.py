"""Which column is what: SWIFT's `--columns`. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

# What SWIFT reads a column as, in the order in which people are offered it.
TARGETS = (
    "messages", "query", "response", "system", "history", "instruction", "input", "output", "text",
    "rejected_response", "rejected_messages", "label", "positive_messages", "negative_messages",
    "images", "videos", "audios", "tools", "objects", "solution",
)  # fmt: skip

_GUESSES = {
    "query": ("user", "human", "prompt", "question", "ask", "问题", "提问", "问", "用户", "输入文本"),
    "response": ("assistant", "bot", "gpt", "reply", "chosen", "accepted", "回答", "答案", "答", "回复"),
    "rejected_response": ("rejected", "reject", "bad", "worse", "负例"),
    "instruction": ("指令",),
    "input": ("输入",),
    "output": ("输出",),
    "system": ("system_prompt", "系统提示词"),
    "messages": ("dialog", "dialogue", "chat", "turns", "conversation", "对话"),
    "label": ("class", "category", "score", "标签", "类别"),
    "text": ("content", "document", "文本", "正文", "内容"),
    "images": ("image_path", "img", "picture", "图片"),
}  # fmt: skip
_BY_NAME = {name: target for target, names in _GUESSES.items() for name in names}


class Mapped(NamedTuple):
    """A dataset as far as its columns go: as it is called, what is renamed, what it has."""

    name: str
    columns: Mapping[str, str]
    column_names: Iterable[str]


class Conflict(NamedTuple):
    """A column that two datasets of one job mean differently."""

    column: str
    one: str
    other: str


def guess(names: Iterable[str], sample: Mapping[str, Any]) -> dict[str, str]:
    """Column -> what it probably is, at most one of each; sample: a row."""
    found: dict[str, str] = {}
    for name in names:
        target = name if name in TARGETS else _BY_NAME.get(name.lower(), "")
        if target in {"response", "rejected_response"} and isinstance(sample.get(name), list):
            target = "messages" if target == "response" else "rejected_messages"
        if target and target not in found.values():
            found[name] = target
    return {name: target for name, target in found.items() if name != target}


def fault_of(columns: Mapping[str, str], names: Iterable[str]) -> tuple[str, str]:
    """(kind of fault, the column at fault); both empty when the mapping can be made.

    Kinds: unknown (no such column), target (SWIFT knows no such name), twice (two become the same).
    """
    known = {name.lower() for name in names}
    after = [name for name in known if name not in {one.lower() for one in columns}]
    taken = set(after)
    for column, target in columns.items():
        if column.lower() not in known:
            return "unknown", column
        if target not in TARGETS:
            return "target", target
        if target in taken:
            return "twice", target
        taken.add(target)
    return "", ""


def merged(sets: Iterable[Mapped]) -> tuple[dict[str, str], Conflict | None]:
    """The one mapping for all datasets of a job, which is all that SWIFT has, or who contradicts whom."""
    sets = list(sets)
    columns: dict[str, str] = {}
    wanted: dict[
        str, tuple[str, str]
    ] = {}  # a column in lower case -> what it becomes, whose word that is
    for one in sets:
        for column, target in one.columns.items():
            first, whose = wanted.setdefault(column.lower(), (target, one.name))
            if first != target:
                return {}, Conflict(column, whose, one.name)
            columns[column] = target
    for one in sets:
        mapped = {column.lower() for column in one.columns}
        for name in one.column_names:
            if name.lower() in wanted and name.lower() not in mapped:
                return {}, Conflict(name, wanted[name.lower()][1], one.name)
    return columns, None
