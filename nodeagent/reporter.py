"""Hands reports to Redis and learns what the control plane has stored.

One thread. Chunks of files wait here in a bounded queue: what does not fit is simply not read from the
file yet. Journalled reports lie on disk until they are acknowledged. Heartbeats and samples are worth
nothing once late, so they are dropped, and counted, while Redis is away.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

import redis

from nodeagent.contract import channels
from nodeagent.contract.reports import FILE_STREAMS, Report, report_pack
from nodeagent.journal import Journal, JournalFault

log = logging.getLogger(__name__)

StreamKey = tuple[int, int, str]

QUEUE_BYTES = 4 * 1024 * 1024
BATCH_ENTRIES = 256
BATCH_BYTES = 1024 * 1024
STREAM_BYTES = 64 * 1024 * 1024  # above this the stream takes no more file chunks until it is read
STREAM_ENTRIES = 100_000
POLL_S = 1.0
STALL_S = 10.0
STALL_IN_STREAM_S = 60.0  # when the entry still lies in the stream, its reader is only late
LONGEST_STALL_S = 600.0
SAVE_ENDS_S = 10.0
LONGEST_PAUSE_S = 5.0


class _Item(NamedTuple):
    packed: bytes
    key: StreamKey | None = None  # of a chunk
    end: int = 0
    seq: int = 0  # of a journalled report
    volatile: bool = False


class _Progress:
    """How far one file stream is sent and stored."""

    __slots__ = ("acked", "entry", "moved_at", "patience_s", "sent")

    def __init__(self, acked: int, now: float) -> None:
        self.acked = acked
        self.sent = acked
        self.entry: tuple[int, int] = (0, 0)  # id of the last entry in Redis
        self.moved_at = now
        self.patience_s = STALL_S


def _entry_id(raw: bytes) -> tuple[int, int]:
    milliseconds, _, number = raw.partition(b"-")
    return int(milliseconds), int(number or 0)


class Reporter:
    """See the module's text. ``on_rewind(key, end)`` is called from the reporter's thread when a file
    stream is to be read again from ``end``, ``on_superseded()`` when another agent has the name now.
    """

    def __init__(
        self,
        *,
        node: str,
        journal: Journal,
        on_rewind: Callable[[StreamKey, int], None],
        agent_id: str = "",
        on_superseded: Callable[[], None] = lambda: None,
        on_heard: Callable[[str], None] = lambda _mark: None,
        poll_s: float = POLL_S,
        stall_s: float = STALL_S,
    ) -> None:
        self._redis: redis.Redis
        self._stream = channels.report_stream(node)
        self._ack_key = channels.ack_key(node)
        self._journal = journal
        self._on_rewind = on_rewind
        self._agent_id = agent_id
        self._on_superseded = on_superseded
        self._agent_told: bytes | None = None  # what the field said when this agent began
        self._on_heard = on_heard
        self._poll_s = poll_s
        self._stall_s = stall_s
        self._wakeup = threading.Condition()
        self._queue: deque[_Item] = deque()
        self._queued_bytes = 0
        self._stopping = False
        self._connected = False
        self._thread = threading.Thread(target=self._run, name="reporter", daemon=True)
        now = time.monotonic()
        self._progress = {key: _Progress(end, now) for key, end in journal.ends().items()}
        self._ends_saved_at = now
        self._ends_dirty = False
        self._journal_acked = 0
        self._journal_noted = 0
        self._faulty = False
        self._journal_sent = 0
        self._journal_moved_at = now
        self._rereads: dict[bytes, bytes] = {}
        self._had_acks = False
        self._in_stream: deque[tuple[tuple[int, int], int]] = deque()
        self._in_stream_bytes = 0
        self._stream_entries = 0
        self._acks_moved_at = now
        self.dropped_volatile = 0

    # -- offering, from other threads

    def start(self, client: "redis.Redis") -> None:
        """Until then, what is offered waits: an agent may have to watch before it knows where Redis is."""
        self._redis = client
        self._thread.start()

    def stop(self, timeout_s: float = 3.0) -> None:
        """Send what is queued if Redis answers, then end."""
        with self._wakeup:
            self._stopping = True
            self._wakeup.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def room_bytes(self) -> int:
        """How much of files is welcome now; 0 while the queue or the stream is full."""
        if self._is_unread():
            return 0
        return max(0, QUEUE_BYTES - self._queued_bytes)

    def _is_unread(self) -> bool:
        """The stream has as much as Redis should hold of one node; whoever reads it is away."""
        return self._in_stream_bytes > STREAM_BYTES or self._stream_entries > STREAM_ENTRIES

    def chunk_offer(self, report: Report) -> None:
        """Queue bytes of a file; ask `room_bytes` before."""
        key = (report.instance, report.attempt, report.stream)
        self._put(_Item(report_pack(report), key=key, end=report.end))

    def journalled_offer(self, seq: int, packed: bytes) -> None:
        """Queue a report that the journal holds."""
        self._put(_Item(packed, seq=seq))

    def volatile_offer(self, report: Report) -> None:
        """Queue a heartbeat or sample; dropped while Redis is away, or while nobody reads what lies there."""
        if (not self._connected and self._queue) or self._is_unread():
            self.dropped_volatile += 1
            return
        self._put(_Item(report_pack(report), volatile=True))

    def acked_end(self, key: StreamKey) -> int:
        """The end of a file stream that the control plane has stored."""
        progress = self._progress.get(key)
        return progress.acked if progress else 0

    def journal_idle(self) -> bool:
        """Every journalled report is acknowledged."""
        return self._journal.reports_unacked_count() == 0

    def forget(self, instance: int, *, up_to: int) -> None:
        """The instance's files are gone, up to this attempt."""
        with self._wakeup:
            for key in [one for one in self._progress if one[0] == instance and one[1] <= up_to]:
                del self._progress[key]
        self._journal.ends_forget(instance, up_to=up_to)

    def _put(self, item: _Item) -> None:
        with self._wakeup:
            self._queue.append(item)
            self._queued_bytes += len(item.packed)
            self._wakeup.notify()

    # -- the thread

    def _run(self) -> None:
        self._journal_resend(0)
        pause_s = 0.1
        next_poll = 0.0
        batch: list[_Item] = []
        while True:
            batch = batch or self._take(max(0.0, next_poll - time.monotonic()))
            if self._stopping and not batch:
                break
            try:
                if batch:
                    self._send(batch)
                    batch = []
                if time.monotonic() >= next_poll:
                    self._poll()
                    next_poll = time.monotonic() + self._poll_s
                self._connection(None)
                pause_s = 0.1
            except Exception as error:
                # this thread is the node's only voice: whatever it met, it tries again
                if not isinstance(error, redis.RedisError):
                    log.exception("reporting failed in an unexpected way")
                self._connection(error)
                batch = self._without_volatile(batch)
                if self._stopping:
                    break
                self._sleep(pause_s)
                pause_s = min(pause_s * 2, LONGEST_PAUSE_S)
        self._ends_saved_at = 0.0
        self._note(time.monotonic())

    def _connection(self, error: Exception | None) -> None:
        """Remember whether Redis answers, and log when that changes."""
        if (error is None) == self._connected:
            return
        self._connected = error is None
        if error is None:
            log.info("redis answers")
        else:
            log.warning("redis is away: %s", error)

    def _without_volatile(self, batch: list[_Item]) -> list[_Item]:
        kept = [item for item in batch if not item.volatile]
        with self._wakeup:
            waiting = [item for item in self._queue if not item.volatile]
            self.dropped_volatile += len(batch) - len(kept) + len(self._queue) - len(waiting)
            self._queue = deque(waiting)
            self._queued_bytes = sum(len(item.packed) for item in waiting)
        return kept

    def _sleep(self, seconds: float) -> None:
        with self._wakeup:
            if not self._stopping:
                self._wakeup.wait_for(lambda: self._stopping, seconds)

    def _take(self, wait_s: float) -> list[_Item]:
        with self._wakeup:
            if not self._queue and not self._stopping:
                self._wakeup.wait(wait_s)
            batch: list[_Item] = []
            taken = 0
            while self._queue and len(batch) < BATCH_ENTRIES and taken < BATCH_BYTES:
                item = self._queue.popleft()
                taken += len(item.packed)
                batch.append(item)
            self._queued_bytes -= taken
            return batch

    def _send(self, batch: list[_Item]) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        for item in batch:
            pipeline.xadd(self._stream, {b"b": item.packed})
        entries: list[Any] = pipeline.execute()
        now = time.monotonic()
        for item, raw in zip(batch, entries, strict=True):
            entry = _entry_id(raw)
            self._in_stream.append((entry, len(item.packed)))
            self._in_stream_bytes += len(item.packed)
            if item.seq:
                if self._journal_sent <= self._journal_acked:
                    self._journal_moved_at = now
                self._journal_sent = max(self._journal_sent, item.seq)
            if item.key is not None:
                self._chunk_sent(item.key, item.end, entry, now)
        self._stream_entries += len(batch)

    def _chunk_sent(self, key: StreamKey, end: int, entry: tuple[int, int], now: float) -> None:
        with self._wakeup:
            progress = self._progress.setdefault(key, _Progress(0, now))
        if progress.sent <= progress.acked:
            progress.moved_at = now
        progress.sent = max(progress.sent, end)
        progress.entry = entry

    # -- what came of it

    def _poll(self) -> None:
        pipeline = self._redis.pipeline(transaction=False)
        pipeline.hgetall(self._ack_key)
        pipeline.xlen(self._stream)
        pipeline.xrange(self._stream, count=1)
        acks, length, first = pipeline.execute()
        now = time.monotonic()
        self._stream_entries = int(length)
        first_id = _entry_id(first[0][0]) if first else None
        while self._in_stream and (first_id is None or self._in_stream[0][0] < first_id):
            self._in_stream_bytes -= self._in_stream.popleft()[1]
        self._agent_read(acks)
        self._acks_read(acks, now)
        self._rereads_read(acks)
        vanished = self._had_acks and not acks
        self._had_acks = bool(acks)
        self._stalled_resend(first_id, now, vanished=vanished)
        self._note(now)

    def _agent_read(self, acks: dict[bytes, bytes]) -> None:
        """A word of before this agent's start is about an earlier one."""
        before, self._agent_told = self._agent_told, acks.get(channels.ACK_AGENT.encode(), b"")
        is_news = before is not None and self._agent_told not in {b"", before}
        if is_news and not self._agent_told.startswith(f"{self._agent_id}:".encode()):
            self._on_superseded()

    def _note(self, now: float) -> None:
        """Into the journal what is acknowledged. A full disk makes this late, and holds up no report."""
        try:
            if self._journal_noted < self._journal_acked:
                self._journal.reports_ack(self._journal_acked)
                self._journal_noted = self._journal_acked
            if now - self._ends_saved_at >= SAVE_ENDS_S:
                self._ends_save()
        except JournalFault as fault:
            if not self._faulty:
                log.error("acknowledgements are not noted: %s", fault)
            self._faulty = True
        else:
            self._faulty = False

    def _acks_read(self, acks: dict[bytes, bytes], now: float) -> None:
        self._on_heard(acks.get(channels.ACK_HEARD.encode(), b"").decode())
        journal_acked = int(acks.get(channels.ACK_JOURNAL.encode(), b"0"))
        if journal_acked > self._journal_acked:
            self._journal_acked = journal_acked
            self._journal_moved_at = self._acks_moved_at = now
        for field, value in acks.items():
            match field.decode().split(":"):
                case [instance, attempt, stream] if stream in FILE_STREAMS:
                    key = (int(instance), int(attempt), stream)
                case _:
                    continue
            progress = self._progress.get(key)
            if progress is not None and int(value) > progress.acked:
                progress.acked = int(value)
                progress.sent = max(progress.sent, progress.acked)
                progress.moved_at = self._acks_moved_at = now
                progress.patience_s = self._stall_s
                self._ends_dirty = True

    def _rereads_read(self, acks: dict[bytes, bytes]) -> None:
        for field, value in acks.items():
            if not field.startswith(b"reread:") or self._rereads.get(field) == value:
                continue
            self._rereads[field] = value
            end = int(value.partition(b":")[0])
            if field == channels.REREAD_JOURNAL.encode():
                self._journal_resend(end, acked=True)
                continue
            _, instance, attempt, stream = field.decode().split(":")
            self._rewind((int(instance), int(attempt), stream), end)

    def _stalled_resend(
        self, first_id: tuple[int, int] | None, now: float, *, vanished: bool
    ) -> None:
        """Send again what seems lost: stream or hash gone, or an end that stands still too long."""
        journal_behind = self._journal_sent > self._journal_acked
        if journal_behind and (vanished or now - self._journal_moved_at >= self._stall_s):
            self._journal_moved_at = now
            self._journal_resend(self._journal_acked)
        reader_lives = now - self._acks_moved_at < self._stall_s
        with self._wakeup:
            behind = [
                (key, progress)
                for key, progress in self._progress.items()
                if progress.sent > progress.acked
            ]
        for key, progress in behind:
            gone = first_id is None or first_id > progress.entry
            patience_s = (
                progress.patience_s if gone else max(STALL_IN_STREAM_S, progress.patience_s)
            )
            late = now - progress.moved_at >= patience_s and (gone or reader_lives)
            if vanished or late:
                progress.patience_s = min(progress.patience_s * 2, LONGEST_STALL_S)
                self._rewind(key, progress.acked)

    def _rewind(self, key: StreamKey, end: int) -> None:
        """Forget what is queued or sent of this stream behind ``end`` and have it read again."""
        now = time.monotonic()
        with self._wakeup:
            kept = [item for item in self._queue if item.key != key]
            self._queue = deque(kept)
            self._queued_bytes = sum(len(item.packed) for item in kept)
            progress = self._progress.setdefault(key, _Progress(end, now))
            progress.sent = min(progress.sent, end)
            progress.moved_at = now
        log.info("sending %s again from %d", key, end)
        self._on_rewind(key, end)

    def _journal_resend(self, after: int, *, acked: bool = False) -> None:
        while rows := self._journal.reports_after(after, acked=acked):
            for seq, packed in rows:
                self.journalled_offer(seq, packed)
            after = rows[-1][0]

    def _ends_save(self) -> None:
        self._ends_saved_at = time.monotonic()
        if self._ends_dirty:
            with self._wakeup:
                ends = {key: progress.acked for key, progress in self._progress.items()}
            self._journal.ends_save(ends)
            self._ends_dirty = False
