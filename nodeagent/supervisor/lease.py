"""The lease: a file that tells trainings when the control plane was last heard, so that they can do without us.

Jobs that may be replaced elsewhere see its folder, read-only, at `paths.LEASE`; `swift_plugin.lf_fence` reads it.
"""

import logging
import os
from pathlib import Path

from nodeagent.contract import paths

log = logging.getLogger(__name__)

_DIGITS = 20  # always as many, so that a new word covers the old one


class Lease:
    """One word, `<boot id>:<milliseconds since the machine's start>`, of when the newest heard heartbeat was sent.

    Written over in place: that needs no room on a full disk, which must not look like a silence. The word
    stands there twice, and whoever reads it while it is written sees two that differ.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file = folder / paths.LEASE_FILE
        self._is_faulty = False
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o755)  # jobs are other users

    def read(self, boot_id: str) -> int | None:
        """The milliseconds, if they are of this start of the machine."""
        try:
            first, second = self._file.read_text(encoding="utf-8").split()
            known, _colon, sent = first.rpartition(":")
            return int(sent) if first == second and known == boot_id else None
        except (OSError, ValueError):
            return None

    def write(self, boot_id: str, sent_ms: int) -> None:
        """A file that cannot be written is told; the jobs that read it end in time, and nobody else does."""
        data = (f"{boot_id}:{sent_ms:0{_DIGITS}d}\n" * 2).encode()
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.fchmod(descriptor, 0o644)
                os.pwrite(descriptor, data, 0)
                os.ftruncate(descriptor, len(data))
            finally:
                os.close(descriptor)
        except OSError as error:
            if not self._is_faulty:
                log.error("%s: %s; jobs that may be replaced end by themselves", self._file, error)
            self._is_faulty = True
        else:
            self._is_faulty = False
