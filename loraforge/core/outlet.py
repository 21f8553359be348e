"""The client's own socket for the body of one answer, so that the kernel moves a file's bytes, not Python.

uvicorn has no ASGI extension for that, so its answer in progress is asked. What cannot be had this way (TLS,
another server, a body of unknown length) is sent piece by piece, as ever.
"""

import asyncio
import os
import select
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from loraforge.core.errors import BodyBroken

if TYPE_CHECKING:
    from concurrent.futures import Future

BURST_BYTES = 64 * 1024**2
# How long a thread waits for a client that takes no more; the event loop waits for the slower ones.
PATIENCE_MS = 20
_WAIT_S = 0.002


Submit = Callable[..., "Future[int]"]


class Pour(Protocol):
    """Moves up to ``size`` bytes to the socket ``target`` and says how many; 0 = there are no more.

    Raises BlockingIOError when the target takes nothing now, BrokenPipeError or ConnectionResetError when
    its client is gone.
    """

    def __call__(self, target: int, size: int, /) -> int: ...


class _ClientGone(Exception):
    """Nobody reads any more."""


class Outlet:
    """Where the body of an answer goes whose head has been sent."""

    def __init__(self, cycle: RequestResponseCycle) -> None:
        self._cycle = cycle
        self._transport: Any = cycle.transport

    async def pour(self, pour: Pour, length: int, *, submit: Submit) -> None:
        """Send ``length`` bytes, or as many as the client stays for.

        submit: runs something in a thread. What it runs last may go on after this was cancelled.
        Raises BodyBroken when the bytes end before, and what ``pour`` raises.
        """
        while self._transport.get_write_buffer_size() and not self._cycle.disconnected:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_WAIT_S)
        if self._cycle.disconnected:
            return
        # a duplicate: the number of a socket that uvicorn closes could soon be another's
        target = os.dup(self._transport.get_extra_info("socket").fileno())
        burst: Future[int] | None = None
        left = length
        try:
            while left and not self._cycle.disconnected:
                burst = submit(_burst, pour, target, left)
                left -= await asyncio.wrap_future(burst)
                if left:
                    await _writable(target)
        except _ClientGone:
            await self._disconnected()
        finally:
            if burst is None:
                os.close(target)
            else:
                burst.add_done_callback(lambda _done: os.close(target))
        self._cycle.expected_content_length -= length - left

    async def _disconnected(self) -> None:
        """uvicorn takes an answer that is not whole for an error until it has noticed too."""
        self._transport.abort()
        while not self._cycle.disconnected:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_WAIT_S)


def outlet_of(send: Any) -> Outlet | None:
    """None when this answer's bytes must go through ``send``."""
    cycle = getattr(send, "__self__", None)
    if not isinstance(cycle, RequestResponseCycle):
        return None
    transport: Any = cycle.transport
    is_plain = transport.get_extra_info("sslcontext") is None
    return Outlet(cycle) if is_plain and transport.get_extra_info("socket") else None


def _burst(pour: Pour, target: int, left: int) -> int:
    """In a thread: as much as the client takes without long waits; in bytes."""
    limit = min(left, BURST_BYTES)
    moved = 0
    ready = select.poll()
    ready.register(target, select.POLLOUT)
    while moved < limit:
        try:
            count = pour(target, limit - moved)
        except BlockingIOError:
            if not ready.poll(PATIENCE_MS):
                break
        except (BrokenPipeError, ConnectionResetError) as error:
            raise _ClientGone from error
        else:
            if not count:
                raise BodyBroken("the source ended before the announced length")
            moved += count
    return moved


async def _writable(target: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(target, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(target)
