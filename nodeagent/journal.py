"""What the agent must not forget: attempts, commands done, and reports not yet acknowledged.

One SQLite file in the agent's folder, every commit on disk before the call returns. Files of a job
are not journalled: they are their own journal, and only the acknowledged ends are remembered.
"""

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from nodeagent.contract.commands import Start, Stop
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import Report, Step, report_pack

KEEP_ACKED_REPORTS = 5_000
KEEP_COMMANDS_S = 30 * 86_400.0

_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS attempts (
    instance INTEGER, attempt INTEGER, record BLOB NOT NULL, PRIMARY KEY (instance, attempt));
CREATE TABLE IF NOT EXISTS commands (
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, error TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS reports (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, packed BLOB NOT NULL, acked INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS ends (
    instance INTEGER, attempt INTEGER, stream TEXT, acked INTEGER NOT NULL,
    PRIMARY KEY (instance, attempt, stream));
"""


class JournalFault(Exception):
    """The journal cannot be written: the disk is full or broken. Nothing was changed; try again."""


class Handle(msgspec.Struct, frozen=True, kw_only=True):
    """How a runtime finds what it started again, also after the agent was killed.

    started: the kernel's start time of the pid in clock ticks since boot, so that a reused pid is
    not mistaken. container, spec: its id and the hash it was started with, for runtimes that have
    containers.
    """

    name: str
    pid: int = 0
    trainer_pid: int = 0
    started: int = 0
    container: str = ""
    spec: str = ""


class Record(msgspec.Struct, kw_only=True):
    """One attempt as the journal holds it. spec is None when a stop came before any start.

    stop_at: of the machine's monotonic clock, which an agent that is started again shares.
    """

    instance: int
    attempt: int
    phase: Phase
    spec: Start | None = None
    spec_hash: str = ""
    handle: Handle | None = None
    boot_id: str = ""
    stop: Stop | None = None
    stop_at: float = 0.0
    exit_code: int | None = None
    killed_by: int | None = None
    reason: str = ""
    detail: str = ""
    sizes: dict[str, int] = {}
    steps: dict[str, Step] = {}
    fetched: dict[str, str] = {}  # target of a fetch -> its folder in the cache
    removed: bool = False
    verdict: str = ""  # why the agent itself ended it
    dirty: dict[str, str] = {}  # GPU -> why it was not free after the end

    @property
    def key(self) -> tuple[int, int]:
        return self.instance, self.attempt

    @property
    def is_live(self) -> bool:
        """It holds its devices."""
        return not self.phase.is_final


_record_decoder = msgspec.json.Decoder(Record)


class Journal:
    """Thread-safe; each method is one transaction unless called inside `transaction`."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._depth = 0
        try:
            self._open(path)
        except sqlite3.Error as error:
            raise JournalFault(f"{path} cannot be written: {error}") from error
        self._prune()

    def _open(self, path: Path) -> None:
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=20)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.executescript(_SCHEMA)
        # A new folder must not begin below the numbers of an earlier life of this node.
        self._db.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT 'reports', ? "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = 'reports')",
            (int(time.time() * 1000),),
        )

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Several calls as one commit; nested blocks join the outermost. Raises JournalFault.

        A COMMIT may fail too (a full disk), and SQLite may have rolled back by itself: neither may leave a
        transaction open, in which everything after it would be lost.
        """
        with self._lock:
            is_outermost = self._depth == 0
            try:
                if is_outermost:
                    self._db.execute("BEGIN IMMEDIATE")
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                if is_outermost:
                    self._db.execute("COMMIT")
            except BaseException as error:
                if is_outermost and self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise JournalFault(f"The journal cannot be written: {error}") from error
                raise

    # -- facts about this folder

    def meta_get(self, key: str) -> str:
        with self._lock:
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def meta_set(self, key: str, value: str) -> None:
        with self.transaction():
            self._db.execute("REPLACE INTO meta VALUES (?, ?)", (key, value))

    # -- attempts

    def record_save(self, record: Record) -> None:
        with self.transaction():
            self._db.execute(
                "REPLACE INTO attempts VALUES (?, ?, ?)",
                (record.instance, record.attempt, msgspec.json.encode(record)),
            )

    def records(self) -> list[Record]:
        """Every attempt, removed ones too (they refuse a start that comes late)."""
        with self._lock:
            rows = self._db.execute(
                "SELECT record FROM attempts ORDER BY instance, attempt"
            ).fetchall()
        return [_record_decoder.decode(row[0]) for row in rows]

    # -- commands

    def command_done(self, command_id: str) -> bool:
        with self._lock:
            row = self._db.execute("SELECT 1 FROM commands WHERE id = ?", (command_id,)).fetchone()
        return row is not None

    def command_add(self, *, command_id: str, kind: str, error: str) -> None:
        with self.transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO commands VALUES (?, ?, ?, ?)",
                (command_id, kind, error, time.time()),
            )

    # -- reports

    def report_add(self, make: Callable[[int], Report]) -> tuple[int, bytes]:
        """Journal a report; ``make`` gets its sequence number. Returns the number and the packed bytes."""
        with self.transaction():
            cursor = self._db.execute("INSERT INTO reports (packed) VALUES (x'')")
            seq = int(cursor.lastrowid or 0)
            packed = report_pack(make(seq))
            self._db.execute("UPDATE reports SET packed = ? WHERE seq = ?", (packed, seq))
        return seq, packed

    def reports_after(
        self, seq: int, *, limit: int = 500, acked: bool = False
    ) -> list[tuple[int, bytes]]:
        """Reports with a higher number, oldest first; unacknowledged ones only unless ``acked``."""
        with self._lock:
            rows = self._db.execute(
                "SELECT seq, packed FROM reports WHERE seq > ? AND acked <= ? ORDER BY seq LIMIT ?",
                (seq, int(acked), limit),
            ).fetchall()
        return [(int(row[0]), bytes(row[1])) for row in rows]

    def reports_ack(self, seq: int) -> None:
        """Everything up to this number is stored by the control plane; some are kept to be asked again."""
        with self.transaction():
            self._db.execute("UPDATE reports SET acked = 1 WHERE seq <= ? AND acked = 0", (seq,))
            self._db.execute(
                "DELETE FROM reports WHERE acked = 1 AND seq <= ?", (seq - KEEP_ACKED_REPORTS,)
            )

    def reports_unacked_count(self) -> int:
        with self._lock:
            row = self._db.execute("SELECT count(*) FROM reports WHERE acked = 0").fetchone()
        return int(row[0])

    # -- acknowledged ends of files

    def ends(self) -> dict[tuple[int, int, str], int]:
        with self._lock:
            rows = self._db.execute("SELECT instance, attempt, stream, acked FROM ends").fetchall()
        return {(int(row[0]), int(row[1]), str(row[2])): int(row[3]) for row in rows}

    def ends_save(self, ends: Mapping[tuple[int, int, str], int]) -> None:
        with self.transaction():
            self._db.executemany(
                "REPLACE INTO ends VALUES (?, ?, ?, ?)",
                [(*key, acked) for key, acked in ends.items()],
            )

    def ends_forget(self, instance: int, *, up_to: int) -> None:
        with self.transaction():
            self._db.execute(
                "DELETE FROM ends WHERE instance = ? AND attempt <= ?", (instance, up_to)
            )

    def _prune(self) -> None:
        with self.transaction():
            self._db.execute("DELETE FROM commands WHERE at < ?", (time.time() - KEEP_COMMANDS_S,))
