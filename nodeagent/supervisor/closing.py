"""What is told about a job's files: how the trainer says it ended, and the manifest."""

import errno
import hashlib
import os
import threading
from collections.abc import Container
from typing import NamedTuple

import msgspec

from nodeagent.contract import paths
from nodeagent.contract.phases import Outcome
from nodeagent.contract.reading import UNREADABLE
from nodeagent.contract.reports import File, Files
from nodeagent.supervisor.wholeness import is_cut
from nodeagent.workspace import Found, JobFolder, opened

BLOCK_BYTES = 1024 * 1024
LAST_EVENTS_BYTES = 1024 * 1024
FIRST_EVENTS_BYTES = 64 * 1024
HOLES_MAX_BYTES = 1024 * 1024 * 1024  # no weights have so many zeros that were never written


class _Event(msgspec.Struct, frozen=True):
    """The part of a plugin's event that the agent reads."""

    event: str = ""
    reason: str = ""


_event_decoder = msgspec.json.Decoder(_Event)
_CLOSING = {"train_end": Outcome.TRAIN_END, "stopped": Outcome.STOPPED}


def _decoded(data: bytes) -> list[_Event]:
    """The events in these whole lines; what is no event of ours has no name."""
    found = []
    for line in data.splitlines():
        try:
            found.append(_event_decoder.decode(line))
        except UNREADABLE:
            found.append(_Event())
    return found


def events_of(data: bytes) -> list[str]:
    """Names of the events in these whole lines; what is no event of ours counts for nothing."""
    return [one.event for one in _decoded(data)]


def outcome_read(folder: JobFolder) -> Outcome:
    """The trainer's own last word, from the end of events.jsonl."""
    return _CLOSING.get(last_of(folder, _CLOSING.keys()), Outcome.NONE)


def stopped_by(folder: JobFolder) -> str:
    """Why the trainer says that it stopped; empty when it does not say so."""
    last = _last(folder, _CLOSING.keys())
    return last.reason if _CLOSING.get(last.event) is Outcome.STOPPED else ""


def last_of(folder: JobFolder, names: Container[str]) -> str:
    """The last of the trainer's events that has one of these names; empty when there is none."""
    return _last(folder, names).event


def _last(folder: JobFolder, names: Container[str]) -> _Event:
    try:
        with opened(folder.path, paths.EVENTS_FILE) as descriptor:
            size = os.fstat(descriptor).st_size
            start = max(0, size - LAST_EVENTS_BYTES)
            data = os.pread(descriptor, LAST_EVENTS_BYTES, start)
    except OSError:
        return _Event()
    return next((one for one in reversed(_decoded(data)) if one.event in names), _Event())


def training_began(folder: JobFolder) -> bool:
    """The plugin has seen the first step coming: from now on it looks at its control files."""
    try:
        with opened(folder.path, paths.EVENTS_FILE) as descriptor:
            data = os.pread(descriptor, FIRST_EVENTS_BYTES, 0)
    except OSError:
        return False
    return "train_begin" in events_of(data)


def holes_check(descriptor: int, size: int) -> None:
    """Raises OSError (EFBIG) for a file that is mostly hole: hashing a terabyte of nothing takes an hour."""
    position = holes = 0
    while position < size:
        try:
            begin = min(os.lseek(descriptor, position, os.SEEK_DATA), size)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            begin = size  # nothing but a hole from here on
        holes += begin - position
        if holes > HOLES_MAX_BYTES:
            raise OSError(errno.EFBIG, "mostly a hole")
        position = os.lseek(descriptor, begin, os.SEEK_HOLE) if begin < size else size


class _Read(NamedTuple):
    """What was found by reading a file."""

    sha256: str
    is_cut: bool


class Manifests:
    """Makes manifests; what was hashed before and has not changed since is not hashed again.

    A file is known by its inode, so one of many names is read once.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._hashes: dict[tuple[str, int, int, int], _Read] = {}

    def make(self, folder: JobFolder, *, complete: bool) -> Files:
        """All regular files of the job with size and SHA-256; reading them takes as long as it takes."""
        walk = folder.walk()
        files, skipped = [], walk.skipped
        for found in walk.files:
            try:
                files.append(self._file(folder, found))
            except FileNotFoundError:
                continue  # a checkpoint that was rotated away meanwhile
            except OSError:
                skipped += 1  # no regular file by now, closed to us, or mostly a hole
        return Files(files=files, complete=complete, skipped=skipped)

    def forget(self, folder: JobFolder) -> None:
        """The folder is gone."""
        with self._lock:
            for key in [key for key in self._hashes if key[0] == str(folder.path)]:
                del self._hashes[key]

    def _file(self, folder: JobFolder, found: Found) -> File:
        key = (str(folder.path), found.size_bytes, found.modified_ns, found.inode)
        with self._lock:
            known = self._hashes.get(key)
        if known is None:
            known = self._read(folder, found)
            with self._lock:
                self._hashes[key] = known
        return File(
            path=found.path,
            size_bytes=found.size_bytes,
            sha256=known.sha256,
            modified_at=found.modified_ns / 1e9,
            is_cut=known.is_cut,
        )

    def _read(self, folder: JobFolder, found: Found) -> _Read:
        """Over exactly the bytes that the manifest announces: a log may grow meanwhile."""
        digest = hashlib.sha256()
        with opened(folder.path, found.path) as descriptor:
            holes_check(descriptor, found.size_bytes)
            position = 0
            while position < found.size_bytes:
                wanted = min(BLOCK_BYTES, found.size_bytes - position)
                block = os.pread(descriptor, wanted, position)
                if not block:
                    break
                digest.update(block)
                position += len(block)
            return _Read(
                digest.hexdigest(), is_cut(descriptor, found.path, min(position, found.size_bytes))
            )
