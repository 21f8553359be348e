"""Built-in recipes for common models: data of this app, to read for everybody, to change for nobody."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from loraforge.swift.argument_help import Words

FILE = Path(__file__).parent / "builtin.json"


class Builtin(msgspec.Struct, frozen=True, kw_only=True):
    """One of them. draft: as `contents.content_made` would keep it."""

    id: str
    name: Words
    description: Words
    draft: dict[str, Any]


@lru_cache(maxsize=1)
def builtins_load() -> tuple[Builtin, ...]:
    """All of them, in the order of the file."""
    return msgspec.json.decode(FILE.read_bytes(), type=tuple[Builtin, ...])


def builtin_get(key: str) -> Builtin | None:
    """The one with this id."""
    return next((one for one in builtins_load() if one.id == key), None)


def builtins_search(search: str) -> list[Builtin]:
    """Those that hold every word, in either language, in their texts or their model."""
    words = search.lower().split()
    return [one for one in builtins_load() if all(word in _text(one) for word in words)]


def _text(one: Builtin) -> str:
    parts = (*_both(one.name), *_both(one.description), str(one.draft.get("model", "")))
    return " ".join(parts).lower()


def _both(words: Words) -> tuple[str, str]:
    return words.en, words.zh
