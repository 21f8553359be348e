"""What an id of a reason says to people, on pages of floors that do not know the words.

The floor that has them registers them when it starts (`AppConfig.ready`).
"""

from collections.abc import Callable, Mapping
from typing import Any

Source = Callable[[str, Mapping[str, Any]], str]

_sources: list[Source] = []


def register(source: Source) -> None:
    """Ask this one too; it answers "" for an id that it does not know."""
    if source not in _sources:
        _sources.append(source)


def reason_said(reason: str, detail: Mapping[str, Any]) -> str:
    """One sentence in the reader's language; the id itself where nobody knows it."""
    return next((text for one in _sources if (text := one(reason, detail))), reason)
