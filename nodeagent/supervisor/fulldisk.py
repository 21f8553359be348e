"""When the disk was full: a trainer that ended of it could not write why, and the agent may have been killed since."""

import logging
import os
import shutil
from pathlib import Path

from nodeagent.supervisor.fencing import clock_s

log = logging.getLogger(__name__)

FULL_BYTES = 64 * 1024  # less than the last words of a trainer
RECENT_S = 120.0
_DIGITS = 20


class FullDisk:
    """Of the disk that holds this folder. The moment is written over in place, which needs no room."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file = folder / "disk_full"
        self._at = self._read()
        if not self._file.exists():
            self._write(0.0)  # while there is room

    def look(self) -> None:
        """Is it full now?"""
        if shutil.disk_usage(self._folder).free < FULL_BYTES:
            self._at = clock_s()
            self._write(self._at)

    def is_recent(self) -> bool:
        """Whether it is full, or was a moment ago."""
        self.look()
        return self._at > 0 and 0 <= clock_s() - self._at <= RECENT_S

    def _read(self) -> float:
        try:
            return int(self._file.read_text(encoding="ascii")) / 1000
        except (OSError, ValueError):
            return 0.0

    def _write(self, at: float) -> None:
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.pwrite(descriptor, f"{int(at * 1000):0{_DIGITS}d}".encode(), 0)
            finally:
                os.close(descriptor)
        except OSError as error:
            log.debug("%s: %s", self._file, error)  # this life of the agent knows it all the same
