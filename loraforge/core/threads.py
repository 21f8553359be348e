"""SQL from asyncio code."""

from collections.abc import Awaitable, Callable
from typing import Any, ParamSpec, TypeVar

from channels.db import DatabaseSyncToAsync

P = ParamSpec("P")
T = TypeVar("T")


def in_thread(function: Callable[P, T]) -> Callable[P, Awaitable[T]]:
    """The function in a thread of the loop's pool, its database connection given back afterwards.

    Not the one thread that asgiref keeps for all: 500 watchers that reconnect would queue up behind each
    other there.
    """
    wrapped: Any = DatabaseSyncToAsync(function, thread_sensitive=False)
    return wrapped  # type: ignore[no-any-return]
