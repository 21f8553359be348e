"""Waiting for a condition, never for a time."""

import asyncio
from collections.abc import Callable

WAIT_S = 20


async def until(condition: Callable[[], bool]) -> None:
    """Look again every few milliseconds; fails after WAIT_S."""
    deadline = asyncio.get_running_loop().time() + WAIT_S
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "it never came"
        await asyncio.sleep(0.005)
