"""Follows one file of a job by byte offset, with the safe open of `workspace`.

The reader looks (fstat) and takes what is new; nothing is kept in memory, so a reader that falls
behind, restarts or is told to go back simply reads the file again.
"""

import os
import time

from nodeagent.contract import paths
from nodeagent.contract.reports import Stream
from nodeagent.linecap import Piece
from nodeagent.workspace import JobFolder, UnsafePath

BATCH_BYTES = 256 * 1024
MAX_LINE_BYTES = 32 * 1024 * 1024  # SWIFT's last metric line repeats the whole history
LOOK_FOR_FILE_S = 0.05
CHECK_PATH_S = 1.0
# What the control plane is sent of a file at most: it keeps all of it, and a job may write for ever.
LIMITS: dict[Stream, int] = {"log": 1024**3, "metric": 256 * 1024**2, "event": 64 * 1024**2}

FILES: dict[Stream, str] = {
    "log": paths.CONSOLE_FILE,
    "metric": paths.METRICS_FILE,
    "event": paths.EVENTS_FILE,
}


class Tail:
    """One stream of one attempt. Not thread-safe: the supervisor's thread alone uses it.

    position is where reading goes on; the caller sets it after handing a piece over, or sets it back.
    trouble is a new finding for people (shrunk, replaced, unsafe, too long), taken once by `trouble_take`.
    """

    def __init__(self, *, folder: JobFolder, stream: Stream, position: int = 0) -> None:
        self.stream: Stream = stream
        self.position = position
        self._folder = folder
        self.relative = FILES[stream]
        self._whole_lines = stream != "log"
        self._descriptor = -1
        self._identity = (0, 0)
        self._look_at = 0.0
        self._check_at = 0.0
        self._waited_at = -1  # size at which no newline had come yet
        self._trouble = ""
        self._told: set[str] = set()

    def close(self) -> None:
        """Give the descriptor back; the next read opens again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def look_again(self) -> None:
        """Look for the file at the next read, however lately it was missing."""
        self._look_at = 0.0

    def trouble_take(self) -> str:
        """What went wrong since the last call, as ``tail:<what>``, or the empty string."""
        trouble, self._trouble = self._trouble, ""
        return trouble

    def _tell(self, trouble: str) -> None:
        if trouble not in self._told:
            self._told.add(trouble)
            self._trouble = trouble

    def _open(self, now: float) -> bool:
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_FOR_FILE_S
        try:
            self._descriptor = self._folder.open(self.relative)
        except FileNotFoundError:
            return False
        except (UnsafePath, PermissionError):
            self._look_at = now + CHECK_PATH_S
            self._tell("tail:unsafe_file")
            return False
        known = os.fstat(self._descriptor)
        self._identity = (known.st_dev, known.st_ino)
        self._check_at = now + CHECK_PATH_S
        return True

    def _replaced(self, now: float) -> bool:
        """Whether the path leads to another file by now; looked at once a second."""
        if now < self._check_at:
            return False
        self._check_at = now + CHECK_PATH_S
        try:
            other = self._folder.open(self.relative)
        except FileNotFoundError:
            return False  # moved away: what was opened can still be read
        except (UnsafePath, PermissionError):
            self._tell("tail:unsafe_file")
            return False
        try:
            known = os.fstat(other)
        finally:
            os.close(other)
        return (known.st_dev, known.st_ino) != self._identity

    def read(self) -> Piece | None:
        """The next bytes at `position`, at most BATCH_BYTES (one whole line may be longer), or None."""
        now = time.monotonic()
        if self._descriptor < 0 and not self._open(now):
            return None
        size = os.fstat(self._descriptor).st_size
        if size > LIMITS[self.stream]:
            self._tell("tail:too_long")
            size = LIMITS[self.stream]
        if size <= self.position:
            self._idle(now, size)
            return None
        if self._whole_lines and size == self._waited_at:
            return None
        data = os.pread(self._descriptor, min(BATCH_BYTES, size - self.position), self.position)
        if self._whole_lines:
            data = self._complete_lines(data, size)
        return Piece(self.position, self.position + len(data), data) if data else None

    def _idle(self, now: float, size: int) -> None:
        if size < self.position:
            self._tell("tail:file_shrank")
        if self._replaced(now):
            self._tell("tail:file_replaced")
            self.close()
            self._look_at = 0.0

    def _complete_lines(self, data: bytes, size: int) -> bytes:
        newline = data.rfind(b"\n")
        while newline < 0 and len(data) < MAX_LINE_BYTES:
            begin = self.position + len(data)
            more = os.pread(self._descriptor, min(BATCH_BYTES, size - begin), begin)
            if not more:
                self._waited_at = size
                return b""
            newline = more.find(b"\n")
            newline = newline if newline < 0 else len(data) + newline
            data += more
        self._waited_at = -1
        return data[: newline + 1] if newline >= 0 else data  # a line without end goes as it is
