"""The fan-out: one reader of `lf:live` in each web process, the same text to every browser that wants it.

Channel layers collapse at 500 watchers and 100 frames a second; one XREAD with a bounded buffer for each
client delivers all of it. After each round the reader leaves those whom it reached the time that sending
takes them: what is published meanwhile is joined once for all, instead of sent one by one. A client that
falls behind loses its subscription, not its data: SQL has it, and it comes back with its cursors.
"""

import asyncio
import logging
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from typing import Any
from weakref import WeakKeyDictionary

import msgspec
import redis

from loraforge.core.redis import connection_async
from nodeagent.contract.channels import LIVE_STREAM

log = logging.getLogger(__name__)

BUFFER_BYTES = 256 * 1024
READ_COUNT = 500
BLOCK_MS = 5_000
READY_WAIT_S = 2.0
LONGEST_PAUSE_S = 2.0
STOP_AGAIN_S = 0.5
COALESCE_FROM = 8  # frames that wait; below that a client is not behind
COALESCE_BYTES = 64 * 1024
PACE_FROM = 50  # clients reached in a round; for fewer the reader goes on at once
PACE_S = 0.00004  # for each of them; sending takes less than half of it
LONGEST_PACE_S = 0.04
RESYNC = "resync"


class _Head(msgspec.Struct):
    """What the fan-out itself reads of a frame."""

    type: str
    attempt: int = 0
    start: int = msgspec.field(name="from", default=0)
    end: int = msgspec.field(name="to", default=0)
    left_out: int = 0


class _LogBody(msgspec.Struct):
    lines: msgspec.Raw
    partial: str = ""


_head = msgspec.json.Decoder(_Head)
_log_body = msgspec.json.Decoder(_LogBody)
_encode = msgspec.json.Encoder().encode


class Frame:
    """One live frame, decoded once for all clients.

    kind: the frame's type. attempt, start, end: its position where it has one (log, metric), else 0.
    is_joinable: lines of a log, and nothing else. text: what is sent. size: its bytes.
    """

    __slots__ = ("attempt", "end", "is_joinable", "kind", "raw", "size", "start", "text")

    def __init__(self, raw: bytes) -> None:
        """Raises msgspec.DecodeError (or its ValidationError) for what is no frame."""
        head = _head.decode(raw)
        self.kind = head.type
        self.attempt = head.attempt
        self.start = head.start
        self.end = head.end
        self.is_joinable = head.type == "log" and not head.left_out
        self.raw = raw
        self.text = raw.decode()
        self.size = len(raw)

    @classmethod
    def of(cls, plain: dict[str, Any]) -> "Frame":
        """The frame of plain data."""
        return cls(_encode(plain))

    def continues(self, other: "Frame") -> bool:
        """Its lines follow the other's."""
        follows = (self.attempt, self.start) == (other.attempt, other.end)
        return follows and self.is_joinable and other.is_joinable


RESYNC_FRAME = Frame.of({"type": RESYNC})


def join_logs(frames: "list[Frame]") -> Frame:
    """A run as one frame; the lines are not decoded."""
    if len(frames) == 1:
        return frames[0]
    bodies = [_log_body.decode(frame.raw) for frame in frames]
    inner = [bytes(body.lines)[1:-1] for body in bodies]
    lines = b"[" + b",".join(part for part in inner if part.strip()) + b"]"
    return Frame.of(
        {
            "type": "log",
            "attempt": frames[0].attempt,
            "from": frames[0].start,
            "to": frames[-1].end,
            "lines": msgspec.Raw(lines),
            "partial": bodies[-1].partial,
        }
    )


def run_take(waiting: "deque[Frame]") -> "list[Frame]":
    """The first frame that waits, with those that can be joined to it."""
    run = [waiting.popleft()]
    size = run[0].size
    while waiting and size < COALESCE_BYTES and waiting[0].continues(run[-1]):
        run.append(waiting.popleft())
        size += run[-1].size
    return run


class Subscriber:
    """One client's bounded queue. `behind` is set when it overflowed; nothing more comes then."""

    __slots__ = ("_limit_bytes", "_queue", "_size_bytes", "_wake", "behind", "is_begun")

    def __init__(self, *, behind: asyncio.Event, limit_bytes: int = BUFFER_BYTES) -> None:
        self.behind = behind
        self.is_begun = False  # its owner may have read SQL already
        self._limit_bytes = limit_bytes
        self._queue: deque[Frame] = deque()
        self._size_bytes = 0
        self._wake = asyncio.Event()

    def put(self, frame: Frame) -> None:
        """Queue a frame, or give up on this client."""
        if self.behind.is_set():
            return
        self._size_bytes += frame.size
        if self._size_bytes > self._limit_bytes:
            self._queue.clear()
            self.behind.set()
        else:
            self._queue.append(frame)
        self._wake.set()

    async def next(self) -> Frame | None:
        """The next frame, log frames joined when many wait; None when the client fell behind."""
        while not self._queue:
            if self.behind.is_set():
                return None
            self._wake.clear()
            await self._wake.wait()
        run = run_take(self._queue) if len(self._queue) > COALESCE_FROM else [self._queue.popleft()]
        self._size_bytes -= sum(frame.size for frame in run)
        return join_logs(run)


class Fanout:
    """The reader of one event loop, started by the first subscription and kept until `stop`."""

    def __init__(self) -> None:
        self._topics: dict[str, set[Subscriber]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._last: bytes | None = None

    @asynccontextmanager
    async def subscribe(
        self,
        *topics: str,
        behind: asyncio.Event | None = None,
        limit_bytes: int = BUFFER_BYTES,
    ) -> AsyncIterator[Subscriber]:
        """Frames of these topics from now on: whatever is published after this began will come.

        With Redis away it begins all the same, and a `resync` frame comes once Redis is back; the
        same after each lost connection. It means: what SQL says may have moved on unseen.
        """
        subscriber = Subscriber(behind=behind or asyncio.Event(), limit_bytes=limit_bytes)
        for topic in topics:
            self._topics[topic].add(subscriber)
        try:
            await self._started()
            subscriber.is_begun = True
            yield subscriber
        finally:
            for topic in topics:
                self._topics[topic].discard(subscriber)
                if not self._topics[topic]:
                    del self._topics[topic]

    async def stop(self) -> None:
        """End the reader.

        Cancelled until it ends: one cancel can be lost in the client's reading of an answer (seen).
        """
        task, self._task = self._task, None
        while task is not None and not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=STOP_AGAIN_S)

    async def _started(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="fanout")
        if not self._ready.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ready.wait(), READY_WAIT_S)

    async def _run(self) -> None:
        """Read for ever: nothing that happens here may leave all browsers silent."""
        pause_s = 0.0
        while True:
            try:
                await self._read()
            except (redis.RedisError, OSError) as error:
                if self._ready.is_set() or pause_s == 0.0:
                    log.warning("Live frames are not read, trying again: %s", error)
            except Exception:
                log.exception("Live frames are not read, trying again")
            if self._ready.is_set():
                pause_s = 0.0
            self._ready.clear()
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2 or 0.05)
            await asyncio.sleep(pause_s)

    async def _read(self) -> None:
        connection = connection_async()
        try:
            # The first word to Redis: only when it has answered are those who wait told to look at SQL.
            newest = await _newest(connection)
            self._last = self._last or newest
            self._begin()
            while True:
                answer = await connection.xread(
                    {LIVE_STREAM: self._last}, count=READ_COUNT, block=BLOCK_MS
                )
                reached = self._deliver(_entries(answer))
                if reached >= PACE_FROM:
                    await asyncio.sleep(min(LONGEST_PACE_S, reached * PACE_S))
        finally:
            await connection.aclose()

    def _begin(self) -> None:
        """Connected. Those who subscribed before may have missed something."""
        self._ready.set()
        for subscriber in {one for group in self._topics.values() for one in group}:
            if subscriber.is_begun:
                subscriber.put(RESYNC_FRAME)

    def _deliver(self, entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> int:
        """Hand out what was read in one go; returns how many clients it reached."""
        fresh: defaultdict[str, deque[Frame]] = defaultdict(deque)
        for entry_id, fields in entries:
            self._last = entry_id
            topic = fields.get(b"t", b"").decode("utf-8", "replace")
            if topic not in self._topics:
                continue
            try:
                fresh[topic].append(Frame(fields[b"f"]))
            except (KeyError, UnicodeDecodeError, msgspec.DecodeError) as error:
                log.error("An entry of the live stream is no frame: %s", error)
        reached = 0
        for topic, frames in fresh.items():
            group = tuple(self._topics[topic])
            reached += len(group)
            while frames:
                frame = join_logs(run_take(frames))
                for subscriber in group:
                    subscriber.put(frame)
        return reached


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """The entries of the one stream that was asked for."""
    if not answer:
        return []
    ((_name, entries),) = answer
    return list(entries)


async def _newest(connection: "redis.asyncio.Redis") -> bytes:
    found = await connection.xrevrange(LIVE_STREAM, count=1)
    newest: Any = found[0][0] if found else b"0-0"
    return bytes(newest)


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, Fanout] = WeakKeyDictionary()


def fanout() -> Fanout:
    """The fan-out of the running event loop; a web process has one loop."""
    loop = asyncio.get_running_loop()
    if loop not in _by_loop:
        _by_loop[loop] = Fanout()
    return _by_loop[loop]
