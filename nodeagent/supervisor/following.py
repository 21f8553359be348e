"""What is read of a job's files while it runs and after it, and how much of that was asked for."""

import logging
import time

from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import FILE_STREAMS, Chunk, Gap, Report, Stream
from nodeagent.journal import Record
from nodeagent.linecap import LeftOut, Piece
from nodeagent.supervisor.closing import events_of
from nodeagent.supervisor.parts import Parts
from nodeagent.tail import Tail
from nodeagent.workspace import JobFolder

log = logging.getLogger(__name__)

_TROUBLE = {
    "tail:unsafe_file": "{} is a link or no regular file and is not followed.",
    "tail:file_shrank": "{} became shorter; what was written over is not shown.",
    "tail:file_replaced": "{} was replaced by another file.",
    "tail:too_long": "{} is too long: only its beginning is shown here, all of it is in the file.",
}


class Following:
    """The file streams of one attempt, offered to the reporter as they grow.

    checkpoint_seen: the trainer told of a checkpoint since whoever needs to know set it to False.
    has_loaded: the trainer's imports are done, as far as was read since the agent began.
    """

    def __init__(self, record: Record, folder: JobFolder, parts: Parts) -> None:
        self._record = record
        self._folder = folder
        self._parts = parts
        self._tails: dict[Stream, Tail] = {}
        self._gate = parts.log_caps.gate()
        self.checkpoint_seen = False
        self.has_loaded = False

    def rewind(self, name: str, position: int) -> None:
        """Read the stream of this name again from there."""
        for stream in FILE_STREAMS:
            if stream == name and self._folder.path.exists():
                self._tail(stream).position = position
                if stream == "log":
                    self._gate.rewind(position)

    def follow(self) -> bool:
        """Offer what is new in the files. True when there is nothing more, or no room for it."""
        for stream in FILE_STREAMS:
            self._tail(stream)
        read = [self._read(tail) for tail in self._tails.values()]  # each gets its turn
        return all(read)

    def look_again(self) -> None:
        """A file that was missing or unsafe may be there now."""
        for stream in FILE_STREAMS:
            self._tail(stream).look_again()

    def sizes(self) -> dict[str, int]:
        """Where each stream ends. While nobody takes reports, that is behind what was offered."""
        sizes: dict[str, int] = {}
        for tail in self._tails.values():
            offered = tail.position
            while (piece := tail.read()) is not None:
                tail.position = piece.end
            sizes[tail.stream] = tail.position
            tail.position = offered
        return sizes

    def settle(self) -> bool:
        """After the end: send on what is not acknowledged. True when there is nothing to offer now."""
        drained = True
        for stream in FILE_STREAMS:
            size = self._record.sizes.get(stream, 0)
            key = (self._record.instance, self._record.attempt, stream)
            acked = self._parts.reporter.acked_end(key)
            if acked >= size and stream not in self._tails:
                continue
            tail = self._tail(stream)
            if tail.position < size or (stream == "log" and self._gate.is_open):
                drained = self._read(tail) and drained
            elif acked >= size:
                self._tails.pop(stream).close()
                if stream == "log":
                    self._parts.log_caps.forget(self._gate)
        return drained

    @property
    def is_over(self) -> bool:
        """Nothing is followed any more."""
        return not self._tails

    def close(self) -> None:
        """Give descriptors back."""
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
        self._parts.log_caps.forget(self._gate)

    def _tail(self, stream: Stream) -> Tail:
        tail = self._tails.get(stream)
        if tail is None:
            key = (self._record.instance, self._record.attempt, stream)
            position = self._parts.reporter.acked_end(key)
            tail = self._tails[stream] = Tail(folder=self._folder, stream=stream, position=position)
            if stream == "log":
                self._gate.rewind(position)
        return tail

    def _read(self, tail: Tail) -> bool:
        while self._parts.reporter.room_bytes() > 0:
            known = self._gate.known(tail.position) if tail.stream == "log" else None
            if known is not None:
                self._offer(tail, known)
                tail.position = known.end
                continue
            piece = tail.read()
            if piece is None:
                self._caught_up(tail)
                self._tell_trouble(tail)
                return True
            self._take(tail, piece)
        return False

    def _take(self, tail: Tail, piece: Piece) -> None:
        if tail.stream == "log":
            told, tail.position = self._gate.judge(piece, time.monotonic())
            for one in told:
                self._offer(tail, one)
                self._count(one)
            return
        self._offer(tail, piece)
        tail.position = piece.end
        if tail.stream == "event":
            names = events_of(piece.data)
            self.checkpoint_seen = self.checkpoint_seen or "checkpoint" in names
            self.has_loaded = self.has_loaded or "plugin_loaded" in names

    def _caught_up(self, tail: Tail) -> None:
        if tail.stream != "log":
            return
        key = (self._record.instance, self._record.attempt, tail.stream)
        self._gate.acked(self._parts.reporter.acked_end(key))
        is_final = self._record.phase is not Phase.RUNNING
        gap = self._gate.caught_up(time.monotonic(), final=is_final)
        if gap is not None:
            self._offer(tail, gap)
            self._count(gap)

    def _count(self, one: Piece | LeftOut) -> None:
        """For the node's heartbeat; what is told again is no news."""
        if isinstance(one, LeftOut):
            self._parts.log_caps.left_out_lines += one.lines

    def _offer(self, tail: Tail, one: Piece | LeftOut) -> None:
        record = self._record
        body: Chunk | Gap
        if isinstance(one, LeftOut):
            body = Gap(lines=one.lines)
        else:
            body = Chunk(data=one.data)
        self._parts.reporter.chunk_offer(
            Report(
                node=self._parts.node,
                stream=tail.stream,
                body=body,
                instance=record.instance,
                attempt=record.attempt,
                start=one.start,
                end=one.end,
                at=time.time(),
            )
        )

    def _tell_trouble(self, tail: Tail) -> None:
        trouble = tail.trouble_take()
        if trouble:
            detail = _TROUBLE[trouble].format(tail.relative)
            log.warning("lf-%s-a%s: %s", self._record.instance, self._record.attempt, detail)
            self._parts.outbox.note(self._record, reason=trouble, detail=detail)
