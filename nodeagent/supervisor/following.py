"""What is read of a job's files while it runs and after it, and how much of that was asked for."""

import logging
import time

from nodeagent.contract.reports import FILE_STREAMS, Chunk, Report, Stream
from nodeagent.journal import Record
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
        self.checkpoint_seen = False
        self.has_loaded = False

    def rewind(self, name: str, position: int) -> None:
        """Read the stream of this name again from there."""
        for stream in FILE_STREAMS:
            if stream == name and self._folder.path.exists():
                self._tail(stream).position = position

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
            if tail.position < size:
                drained = self._read(tail) and drained
            elif acked >= size:
                self._tails.pop(stream).close()
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

    def _tail(self, stream: Stream) -> Tail:
        tail = self._tails.get(stream)
        if tail is None:
            key = (self._record.instance, self._record.attempt, stream)
            position = self._parts.reporter.acked_end(key)
            tail = self._tails[stream] = Tail(folder=self._folder, stream=stream, position=position)
        return tail

    def _read(self, tail: Tail) -> bool:
        reporter, record = self._parts.reporter, self._record
        while reporter.room_bytes() > 0:
            piece = tail.read()
            if piece is None:
                self._tell_trouble(tail)
                return True
            reporter.chunk_offer(
                Report(
                    node=self._parts.node,
                    stream=tail.stream,
                    body=Chunk(data=piece.data),
                    instance=record.instance,
                    attempt=record.attempt,
                    start=piece.start,
                    end=piece.end,
                    at=time.time(),
                )
            )
            tail.position = piece.end
            if tail.stream == "event":
                names = events_of(piece.data)
                self.checkpoint_seen = self.checkpoint_seen or "checkpoint" in names
                self.has_loaded = self.has_loaded or "plugin_loaded" in names
        return False

    def _tell_trouble(self, tail: Tail) -> None:
        trouble = tail.trouble_take()
        if trouble:
            detail = _TROUBLE[trouble].format(tail.relative)
            log.warning("lf-%s-a%s: %s", self._record.instance, self._record.attempt, detail)
            self._parts.outbox.note(self._record, reason=trouble, detail=detail)
