"""`python -m loraforge.datasets.rowcheck FILE`: hash a file and check its rows, in a process of its own.

A process, not a thread: parsing holds the interpreter's lock, and the web process that starts this
has pages and live frames to serve meanwhile; and whatever a hostile file does to the parser, it does
it here, under a memory limit. Imports nothing of Django. Reads a `Task` from stdin, writes JSON lines to
stdout: ``{"done": bytes}`` now and then, at the end ``{"sha256": ..., "report": {...}}``. Ends when nobody
reads it. Beside FILE it leaves FILE.index, and FILE.rows when the rows were not JSON lines before.
"""

import hashlib
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

import msgspec

from loraforge.datasets.converting import Elements, Table
from loraforge.datasets.rowformats import Refused
from loraforge.datasets.rowindex import IndexMaker
from loraforge.datasets.rows import RowChecker, RowReport
from loraforge.datasets.sniffing import SNIFF_BYTES, FileFormat, format_sniff, refusal_of

READ_BYTES = 2 * 1024**2
PROGRESS_EVERY_S = 0.5
# Of its own, beside the programs' code: with that a check takes less than 300 MB.
MEMORY_BYTES = 240 * 1024**2
NICENESS = 10
CPU_S = 600
SLOWEST_BYTES_S = 2 * 1024**2  # a tenth of what the slowest format takes
ERRORS_MOST = 1000  # of a file with more, the rest is not converted
NOTE_CONVERTED = "rows:converted"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """suffix: of the file's name. columns: as in RowChecker. limit_bytes: how large the rows may become."""

    suffix: str = ""
    columns: dict[str, str] = {}
    limit_bytes: int = 50 * 1024**3


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the output; all but done only on the last.

    sha256: of the file that came. rows_sha256, rows_bytes: of FILE.rows, where there is one.
    """

    done: int
    sha256: str = ""
    report: RowReport | None = None
    file_format: str = FileFormat.JSONL
    rows_sha256: str = ""
    rows_bytes: int = 0


def rows_path(path: Path) -> Path:
    """Where the converted rows of a file lie."""
    return path.with_name(f"{path.name}.rows")


def index_path(path: Path) -> Path:
    """Where the index of a file lies."""
    return path.with_name(f"{path.name}.index")


class Check:
    """One check of one file."""

    def __init__(self, path: Path, out: BinaryIO, task: Task) -> None:
        self._path = path
        self._out = out
        self._task = task
        self._index = IndexMaker()
        self._checker = RowChecker(columns=task.columns, index=self._index)
        self._digest = hashlib.sha256()
        self._done = 0
        self._told_at = time.monotonic()
        self._encode = msgspec.json.Encoder().encode
        self._rows_digest = hashlib.sha256()
        self._rows_bytes = 0
        self._size = path.stat().st_size
        self._hashed: Future[None] | None = None

    def run(self) -> None:
        """Read the file once: rows in this thread, the hash beside it (hashlib frees the lock)."""
        with self._path.open("rb", buffering=0) as file:
            head = file.read(SNIFF_BYTES)
        file_format = format_sniff(self._task.suffix, head)
        is_text = file_format != FileFormat.PARQUET
        refusal = refusal_of(head) if is_text else ""
        with self._path.open("rb", buffering=0) as file, ThreadPoolExecutor(1) as beside:
            self._file, self._beside = file, beside
            if refusal:
                self._checker.refuse(0, refusal)
            elif file_format == FileFormat.JSONL:
                while data := self._read(READ_BYTES):
                    self._checker.feed(data)
            else:
                self._convert(file_format)
            while self._read(READ_BYTES):
                pass  # what is left is hashed all the same
        self._tell_end(file_format)

    def _read(self, size: int) -> bytes:
        """The next bytes of the file; hashed beside, while the ones before are being looked at."""
        data = self._file.read(size)
        if self._hashed is not None:
            self._hashed.result()
        self._hashed = self._beside.submit(self._digest.update, data)
        self._say(self._done + len(data))
        return data

    def _say(self, done: int) -> None:
        self._done = done
        if time.monotonic() - self._told_at >= PROGRESS_EVERY_S:
            self._told_at = time.monotonic()
            self._tell(Progress(done=min(done, self._size)))

    def _tell(self, progress: Progress) -> None:
        self._out.write(self._encode(progress) + b"\n")
        self._out.flush()

    def _lines(self, file_format: FileFormat) -> Iterable[bytes]:
        if file_format == FileFormat.JSON:
            return Elements(self._read)
        if file_format == FileFormat.PARQUET:
            module = import_module("loraforge.datasets.parquet")
            found: Iterator[bytes] = module.rows_of(
                self._path, lambda share: self._say(int(self._size * share))
            )
            return found
        return Table(self._read, delimiter="\t" if file_format == FileFormat.TSV else "")

    def _convert(self, file_format: FileFormat) -> None:
        """Rows into FILE.rows, and through the checker."""
        with rows_path(self._path).open("wb") as rows:
            try:
                for data in _batches(self._lines(file_format)):
                    self._put(rows, data)
            except Refused as refused:
                row = self._checker.rows_seen + 1
                self._checker.refuse(row, refused.error_id, **refused.params)
        self._checker.note(NOTE_CONVERTED)

    def _put(self, rows: BinaryIO, data: bytes) -> None:
        if self._rows_bytes + len(data) > self._task.limit_bytes:
            raise Refused("rows:too_large", limit_bytes=self._task.limit_bytes)
        if self._checker.error_count > ERRORS_MOST:
            raise Refused("rows:too_many_errors", limit=ERRORS_MOST)
        self._rows_bytes += len(data)
        rows.write(data)
        self._rows_digest.update(data)
        self._checker.feed(data)

    def _tell_end(self, file_format: FileFormat) -> None:
        report = self._checker.finish()
        with index_path(self._path).open("wb") as file:
            doubles = self._index.write(file)
        report.statistics = self._checker.statistics(
            duplicates=doubles, is_estimate=self._index.is_estimate
        )
        is_converted = rows_path(self._path).exists()
        self._tell(
            Progress(
                done=self._size,
                sha256=self._digest.hexdigest(),
                report=report,
                file_format=file_format,
                rows_sha256=self._rows_digest.hexdigest() if is_converted else "",
                rows_bytes=self._rows_bytes,
            )
        )


def _batches(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Lines, joined to pieces; those before a broken one come before its exception does."""
    batch: list[bytes] = []
    held = 0
    broken: Refused | None = None
    try:
        for line in lines:
            batch.append(line + b"\n")
            held += len(line)
            if held > READ_BYTES:
                yield b"".join(batch)
                batch, held = [], 0
    except Refused as refused:
        broken = refused
    if batch:
        yield b"".join(batch)
    if broken is not None:
        raise broken


def check(path: Path, out: BinaryIO, task: Task | None = None) -> None:
    """Check a file."""
    for each in (rows_path(path), index_path(path)):
        each.unlink(missing_ok=True)
    Check(path, out, task or Task()).run()


def main() -> None:
    """Lower the own priority, memory and time, then check the file named on the command line."""
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    seconds = CPU_S + Path(sys.argv[1]).stat().st_size // SLOWEST_BYTES_S
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    task = msgspec.json.decode(sys.stdin.buffer.read() or b"{}", type=Task)
    check(Path(sys.argv[1]), sys.stdout.buffer, task)


if __name__ == "__main__":
    main()
