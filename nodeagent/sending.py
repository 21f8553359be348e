"""A file as the body of an answer, moved by the kernel (sendfile) to the client's own socket.

uvicorn has no ASGI extension for that, so its answer in progress is asked; behind any other server the
file is read and sent a megabyte at a time.
"""

import asyncio
import os
import select
from collections.abc import Callable
from typing import Any

import anyio.to_thread
import h11
from starlette.responses import Response
from uvicorn.protocols.http.h11_impl import RequestResponseCycle

BLOCK_BYTES = 1024**2
SENDFILE_BYTES = 8 * 1024**2
BURST_BYTES = 64 * 1024**2
# How long a thread waits for a reader that takes no more; the event loop waits for the slower ones.
PATIENCE_MS = 20
_WAIT_S = 0.002
_NAME = "nodeagent.outlet"


class _ReaderGone(Exception):
    """Nobody reads any more."""


class _Sized:
    """Stands for bytes that h11 counts and that went another way."""

    def __init__(self, size: int) -> None:
        self._size = size

    def __len__(self) -> int:
        return self._size


def with_outlet(app: Callable[..., Any]) -> Callable[..., Any]:
    """The application, with uvicorn's answer in its scope: middleware hides it."""

    async def entered(scope: Any, receive: Any, send: Any) -> None:
        cycle = getattr(send, "__self__", None)
        if isinstance(cycle, RequestResponseCycle):
            scope.setdefault("extensions", {})[_NAME] = cycle
        await app(scope, receive, send)

    return entered


class FileBody(Response):
    """Bytes [start, end) of an open file, which it closes. The headers must have the Content-Length."""

    def __init__(self, descriptor: int, start: int, end: int, **head: Any) -> None:
        super().__init__(**head)
        self._descriptor = descriptor
        self._position = start
        self._end = end

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it, as long as somebody reads. Raises OSError when the file became shorter."""
        cycle = scope.get("extensions", {}).get(_NAME)
        try:
            await send(
                {
                    "type": "http.response.start",
                    "status": self.status_code,
                    "headers": self.raw_headers,
                }
            )
            if cycle is not None:
                await self._pour(cycle)
            else:
                await self._read(send)
            await send({"type": "http.response.body", "body": b"", "more_body": False})
        finally:
            os.close(self._descriptor)

    async def _read(self, send: Any) -> None:
        while self._position < self._end:
            wanted = min(BLOCK_BYTES, self._end - self._position)
            block = await anyio.to_thread.run_sync(
                os.pread, self._descriptor, wanted, self._position
            )
            if not block:
                raise OSError("the file became shorter while it was sent")
            self._position += len(block)
            await send({"type": "http.response.body", "body": block, "more_body": True})

    async def _pour(self, cycle: RequestResponseCycle) -> None:
        transport: Any = cycle.transport
        while transport.get_write_buffer_size() and not cycle.disconnected:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_WAIT_S)
        if cycle.disconnected:
            return
        length = self._end - self._position
        # a duplicate: the number of a socket that uvicorn closes could soon be another's
        target = os.dup(transport.get_extra_info("socket").fileno())
        try:
            while self._position < self._end and not cycle.disconnected:
                # anyio waits for its thread even when cancelled, so both files stay open as long
                await anyio.to_thread.run_sync(self._burst, target)
                if self._position < self._end:
                    await _writable(target)
        except _ReaderGone:
            transport.abort()
            while not cycle.disconnected:  # noqa: ASYNC110 - uvicorn has no event for it
                await asyncio.sleep(_WAIT_S)
        finally:
            os.close(target)
        if not cycle.disconnected:
            sized: Any = _Sized(length)
            cycle.conn.send_with_data_passthrough(h11.Data(data=sized))

    def _burst(self, target: int) -> None:
        """In a thread: as much as the reader takes without long waits."""
        limit = min(self._end, self._position + BURST_BYTES)
        ready = select.poll()
        ready.register(target, select.POLLOUT)
        while self._position < limit:
            wanted = min(SENDFILE_BYTES, limit - self._position)
            try:
                count = os.sendfile(target, self._descriptor, self._position, wanted)
            except BlockingIOError:
                if not ready.poll(PATIENCE_MS):
                    return
            except (BrokenPipeError, ConnectionResetError) as error:
                raise _ReaderGone from error
            else:
                if not count:
                    raise OSError("the file became shorter while it was sent")
                self._position += count


async def _writable(target: int) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_writer(target, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_writer(target)
