"""Texts from outside that nothing has checked yet."""


def storable(text: str, *, length: int | None = None) -> str:
    """The text as every database takes it: no NUL, no lone surrogate, at most ``length`` characters.

    PostgreSQL refuses what SQLite lets pass, and a node's report must not be lost over its wording.
    """
    return text.encode("utf-8", "replace").decode().replace("\x00", "\u2400")[:length]
