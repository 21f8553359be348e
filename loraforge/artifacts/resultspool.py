"""Files of copies that are on their way: bytes [0, offset) on disk and fsynced, in `settings.RESULT_FOLDER`.

The SHA-256 is counted as the bytes come. hashlib's state cannot be kept in SQL, so each process keeps
its own in memory; one that has it not (a restart, another worker) reads the file again, a step at a time.
"""

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Container
from pathlib import Path
from typing import Any

from django.conf import settings

BLOCK_BYTES = 4 * 1024**2
STATES_MAX = 64  # of hashes that are remembered; the oldest is forgotten

_lock = threading.Lock()
Go = tuple[int, int]  # a copy, and how often it was begun: another begin has other bytes
_states: dict[Go, tuple[int, Any]] = {}


def path_of(copy_id: int) -> Path:
    """Where the bytes of a copy lie until they are verified."""
    return Path(settings.RESULT_FOLDER) / f"{copy_id}.part"


def free_bytes() -> int:
    """What is free on the disk of the folder."""
    folder = Path(settings.RESULT_FOLDER)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return shutil.disk_usage(folder).free


def have_bytes(copy_id: int) -> int:
    """How much lies there; a process that died may have written more than SQL knows."""
    try:
        return path_of(copy_id).stat().st_size
    except FileNotFoundError:
        return 0


def delete(copy_id: int) -> None:
    """Remove what lies there; nothing there is fine."""
    path_of(copy_id).unlink(missing_ok=True)
    forget(copy_id)


def forget(copy_id: int) -> None:
    """Count its hash anew, whatever was counted."""
    with _lock:
        for go in [go for go in _states if go[0] == copy_id]:
            del _states[go]


def left_over(known: Container[int], *, older_s: float) -> list[int]:
    """Ids of files that lie here though no copy of those known is on its way, and nobody wrote of late."""
    folder = Path(settings.RESULT_FOLDER)
    if not folder.is_dir():
        return []
    ids = [path for path in folder.glob("*.part") if path.stem.isdecimal()]
    late = time.time() - older_s
    return [int(path.stem) for path in ids if int(path.stem) not in known and _written(path) < late]


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return time.time()


class Writer:
    """Appends behind ``offset_bytes``; what lies behind that is cut off first. Raises OSError."""

    def __init__(self, go: Go, *, offset_bytes: int) -> None:
        path = path_of(go[0])
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._go = go
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        os.ftruncate(self._file, offset_bytes)
        os.lseek(self._file, offset_bytes, os.SEEK_SET)
        self.offset_bytes = offset_bytes
        self._hash = _state_take(go, at=offset_bytes)

    def write(self, data: bytes) -> None:
        """Append."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self.offset_bytes += len(data)
        if self._hash is not None:
            self._hash.update(data)

    def close(self) -> None:
        """Make it durable; then the offset may be told to SQL."""
        try:
            os.fdatasync(self._file)
        finally:
            os.close(self._file)
        if self._hash is not None:
            _state_keep(self._go, self.offset_bytes, self._hash)


def digest_step(go: Go, *, size_bytes: int, deadline: float) -> str | None:
    """The SHA-256 of a complete file; None when the deadline (of time.monotonic) came first."""
    with _lock:
        position, digest = _states.pop(go, (0, hashlib.sha256()))
    with path_of(go[0]).open("rb") as file:
        file.seek(position)
        while position < size_bytes:
            block = file.read(min(BLOCK_BYTES, size_bytes - position))
            if not block:
                break
            digest.update(block)
            position += len(block)
            if position < size_bytes and time.monotonic() >= deadline:
                _state_keep(go, position, digest)
                return None
    _state_keep(go, position, digest)
    found: str = digest.hexdigest()
    return found


def _state_take(go: Go, *, at: int) -> Any:
    """The hash of bytes [0, at), if this process has counted just those; else None."""
    if at == 0:
        return hashlib.sha256()
    with _lock:
        known = _states.get(go)
        return _states.pop(go)[1] if known is not None and known[0] == at else None


def _state_keep(go: Go, position: int, digest: Any) -> None:
    with _lock:
        _states.pop(go, None)
        while len(_states) >= STATES_MAX:
            del _states[next(iter(_states))]
        _states[go] = (position, digest)
