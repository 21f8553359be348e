"""Many websockets in one process, read by hand so that the measuring costs little.

``python -m tests.benchmarks.watchers PORT PATH COUNT FRAMES COOKIE...``: prints ``ready`` when all are open.
A line on stdin says that everything was sent; JSON follows once FRAMES have come to each, or QUIET_S later:
frames received, and the latency of each by the time in its line.
"""

import asyncio
import re
import struct
import sys
import time
from array import array

import msgspec

# Each line begins with the nanosecond at which it was published; a frame may carry several.
STAMP = re.compile(rb'"(\d{19}) ')
QUIET_S = 15.0


class Watcher(asyncio.Protocol):
    """One browser."""

    def __init__(
        self, request: bytes, latencies: "array[float]", opened: "asyncio.Future[None]"
    ) -> None:
        self._request = request
        self._latencies = latencies
        self._opened = opened
        self._data = b""
        self.closed_with = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        now = time.time_ns()
        data = self._data + data
        if not self._opened.done():
            head, found, data = data.partition(b"\r\n\r\n")
            if not found:
                self._data = head
                return
            if not head.startswith(b"HTTP/1.1 101"):
                self._opened.set_exception(RuntimeError(head.decode("latin-1")))
                return
            self._opened.set_result(None)
        self._data = self._take(data, now)

    def _take(self, data: bytes, now: int) -> bytes:
        """Count the whole frames; what is left of the last one."""
        at = 0
        while len(data) - at >= 2:
            length, begin = data[at + 1], at + 2
            if length >= 126:
                size = 2 if length == 126 else 8
                if len(data) < begin + size:
                    break
                length, begin = int.from_bytes(data[begin : begin + size]), begin + size
            if len(data) < begin + length:
                break
            if data[at] == 0x88:
                self.closed_with = struct.unpack_from(">H", data, begin)[0]
            for stamp in STAMP.finditer(data, begin, begin + length):
                self._latencies.append((now - int(stamp[1])) / 1e6)
            at = begin + length
        return data[at:]


async def main(port: int, path: str, count: int, frames: int, cookies: list[str]) -> None:
    """Open all, tell, listen, count."""
    loop = asyncio.get_running_loop()
    latencies: array[float] = array("d")
    watchers = []
    for number in range(count):
        opened: asyncio.Future[None] = loop.create_future()
        request = (
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
            f"Cookie: {cookies[number % len(cookies)]}\r\n\r\n"
        ).encode()
        _transport, watcher = await loop.create_connection(
            lambda request=request, opened=opened: Watcher(request, latencies, opened),  # type: ignore[misc]
            "127.0.0.1", port,
        )  # fmt: skip
        await opened
        watchers.append(watcher)
    await asyncio.sleep(1)
    print("ready", flush=True)
    await loop.run_in_executor(None, sys.stdin.readline)
    deadline = loop.time() + QUIET_S
    while len(latencies) < count * frames and loop.time() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    closed = sum(bool(watcher.closed_with) for watcher in watchers)
    ordered = sorted(latencies)
    answer: dict[str, float] = {"received": len(ordered), "closed": closed}
    if ordered:
        shares = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
        last = len(ordered) - 1
        answer |= {name: round(ordered[int(last * share)], 2) for name, share in shares.items()}
    print(msgspec.json.encode(answer).decode())


if __name__ == "__main__":
    asyncio.run(
        main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:])
    )
