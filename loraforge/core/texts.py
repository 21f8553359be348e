"""Texts from outside that nothing has checked yet."""

from collections.abc import Mapping

DIGITS_MAX = 18  # of a 64-bit number; Python itself refuses to read some thousand


def storable(text: str, *, length: int | None = None) -> str:
    """The text as every database takes it: no NUL, no lone surrogate, at most ``length`` characters.

    PostgreSQL refuses what SQLite lets pass, and a node's report must not be lost over its wording.
    """
    return text.encode("utf-8", "replace").decode().replace("\x00", "\u2400")[:length]


def number_read(text: str) -> int | None:
    """The whole number of an address's query; None for anything else, and for what no column can hold."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX
    return int(text) if is_number else None


def has_nul(value: object) -> bool:
    """True for a zero byte at any depth of plain JSON: no program takes it, PostgreSQL stores no JSON with it."""
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(has_nul(one) for pair in value.items() for one in pair)
    return isinstance(value, list | tuple) and any(has_nul(one) for one in value)
