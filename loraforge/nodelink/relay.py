"""From the node's socket to the client's through a pipe of the kernel: no byte of a file enters Python (Linux)."""

import contextlib
import fcntl
import http.client
import os
import select
from collections.abc import Callable

from loraforge.core.errors import Unavailable

READ_TIMEOUT_S = 20.0
PIPE_BYTES = 1024**2


class Relay:
    """The rest of a body, to be poured (`core.outlet.Pour`). Raises Unavailable when the node fails."""

    def __init__(
        self, response: http.client.HTTPResponse, length: int, failed: Callable[[], Unavailable]
    ) -> None:
        self._response = response
        self._failed = failed
        self.left = length  # what the node has yet to give
        self._head: bytes | None = None  # what http.client read along with the headers
        self._emptied, self._filled = os.pipe()
        self._held = 0  # bytes in the pipe
        self._is_open = True
        with contextlib.suppress(OSError):  # the account has many pipes; a small one is only slower
            fcntl.fcntl(self._filled, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def __call__(self, target: int, size: int, /) -> int:
        """See `core.outlet.Pour`."""
        if not self._held:
            self._fill(size)
        count = os.splice(self._emptied, target, min(self._held, size), flags=os.SPLICE_F_NONBLOCK)
        self._held -= count
        return count

    def _fill(self, size: int) -> None:
        try:
            if self._head is None:
                self._fill_head()
            else:
                self._fill_from_node(min(size, PIPE_BYTES, self.left))
        except (OSError, http.client.HTTPException) as error:
            raise self._failed() from error
        if not self._held:
            raise self._failed()

    def _fill_head(self) -> None:
        """The reader of the headers took the body's first bytes too; the pipe holds them all."""
        read_along = self._response.fp.peek()
        self._head = self._response.read(min(len(read_along), self.left))
        self._held = os.write(self._filled, self._head)
        self.left -= self._held

    def _fill_from_node(self, wanted: int) -> None:
        source = self._response.fileno()
        ready = select.poll()
        ready.register(source, select.POLLIN)
        while ready.poll(READ_TIMEOUT_S * 1000):
            with contextlib.suppress(BlockingIOError):  # woken for nothing
                self._held = os.splice(source, self._filled, wanted, flags=os.SPLICE_F_NONBLOCK)
                self.left -= self._held
                return
        raise TimeoutError

    def close(self) -> None:
        """The pipe; the response is its owner's."""
        if self._is_open:
            self._is_open = False
            os.close(self._emptied)
            os.close(self._filled)
