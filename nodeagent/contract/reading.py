"""What msgspec raises for bytes from outside: what it is for, broken UTF-8, and what has no bottom."""

import msgspec

UNREADABLE: tuple[type[Exception], ...] = (
    msgspec.MsgspecError,
    UnicodeDecodeError,
    RecursionError,
)
