"""`python -m loraforge.datasets.rowcheck FILE`: hash a file and check its rows, in a process of its own.

A process, not a thread: parsing holds the interpreter's lock, and the web process that starts this
has pages and live frames to serve meanwhile; and whatever a hostile file does to the parser, it does
it here, under a memory limit. Imports nothing of Django. Writes JSON lines to stdout: ``{"done":
bytes}`` now and then, at the end ``{"sha256": ..., "report": {...}}``. Ends when nobody reads it.
"""

import hashlib
import os
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import msgspec

from loraforge.datasets.rows import RowChecker, RowReport

READ_BYTES = 2 * 1024**2
PROGRESS_EVERY_S = 0.5
MEMORY_BYTES = 2 * 1024**3
NICENESS = 10


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the output; sha256 and report only on the last."""

    done: int
    sha256: str = ""
    report: RowReport | None = None


_encode = msgspec.json.Encoder().encode


def _tell(out: BinaryIO, progress: Progress) -> None:
    out.write(_encode(progress) + b"\n")
    out.flush()


def check(path: Path, out: BinaryIO) -> None:
    """Read the file once: rows in this thread, the hash beside it (hashlib frees the lock)."""
    checker = RowChecker()
    digest = hashlib.sha256()
    done = 0
    told_at = time.monotonic()
    with path.open("rb", buffering=0) as file, ThreadPoolExecutor(max_workers=1) as beside:
        while data := file.read(READ_BYTES):
            hashed = beside.submit(digest.update, data)
            checker.feed(data)
            hashed.result()
            done += len(data)
            if time.monotonic() - told_at >= PROGRESS_EVERY_S:
                told_at = time.monotonic()
                _tell(out, Progress(done=done))
    _tell(out, Progress(done=done, sha256=digest.hexdigest(), report=checker.finish()))


def main() -> None:
    """Lower the own priority and memory limit, then check the file named on the command line."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    check(Path(sys.argv[1]), sys.stdout.buffer)


if __name__ == "__main__":
    main()
