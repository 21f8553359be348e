"""A full disk takes nothing away: what could not be written down did not happen, and is tried again."""

import errno
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodeagent.commands import Commands
from nodeagent.contract.commands import Stop, command_dump
from nodeagent.contract.phases import Phase
from nodeagent.journal import Journal, JournalFault, Record
from nodeagent.supervisor.fulldisk import FullDisk
from nodeagent.supervisor.run import Run

BLOB = "x" * 100_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = Journal(tmp_path / "journal.sqlite3")
    yield found
    found.close()


def disk_fill(journal: Journal) -> None:
    """SQLite itself says SQLITE_FULL from now on."""
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")


def disk_free(journal: Journal) -> None:
    journal._db.execute("PRAGMA max_page_count = 1000000")


def both_set(journal: Journal) -> None:
    with journal.transaction():
        journal.meta_set("half", "1")
        journal.meta_set("big", BLOB)


def test_a_full_disk_is_one_kind_of_fault_and_leaves_no_transaction_open(journal: Journal) -> None:
    journal.meta_set("before", "1")
    disk_fill(journal)
    with pytest.raises(JournalFault):
        both_set(journal)
    assert journal.meta_get("half") == ""
    disk_free(journal)
    journal.meta_set("after", BLOB)
    assert (journal.meta_get("before"), journal.meta_get("after")) == ("1", BLOB)


def test_a_commit_that_fails_is_taken_back(journal: Journal) -> None:
    """A full disk may show only at the COMMIT; the next transaction must begin all the same."""
    real = journal._db

    class Full:
        def execute(self, statement: str, *values: Any) -> Any:
            if statement == "COMMIT":
                raise sqlite3.OperationalError("database or disk is full")
            return real.execute(statement, *values)

        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

    stand_in: Any = Full()
    journal._db = stand_in
    with pytest.raises(JournalFault):
        journal.meta_set("lost", "1")
    journal._db = real
    journal.meta_set("kept", "1")
    assert (journal.meta_get("lost"), journal.meta_get("kept")) == ("", "1")


def test_a_journal_that_cannot_be_made_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(JournalFault, match="cannot be written"):
        Journal(tmp_path / "missing" / "journal.sqlite3")


def test_a_phase_goes_on_only_when_it_is_journalled() -> None:
    """Else the control plane would never hear of it: the end of a job, in the worst case."""
    told: list[Phase] = []

    def phase(record: Record, **_more: Any) -> None:
        if not told:
            told.append(record.phase)
            raise JournalFault(str(OSError(errno.ENOSPC, "full")))
        told.append(record.phase)

    run: Any = object.__new__(Run)
    run.record = record = Record(instance=1, attempt=1, phase=Phase.RUNNING)
    run._parts = SimpleNamespace(outbox=SimpleNamespace(phase=phase))
    with pytest.raises(JournalFault):
        run._phase(Phase.FINISHING)
    assert record.phase == "running"
    run._phase(Phase.FINISHING)
    assert told == [Phase.FINISHING, Phase.FINISHING]
    assert record.phase == "finishing"


def test_a_command_that_could_not_be_written_down_is_not_answered_and_done_when_it_comes_again(
    journal: Journal,
) -> None:
    done: list[str] = []
    full = [True]

    def stop(command: Stop) -> None:
        if full:
            raise JournalFault("full")
        done.append(command.id)

    def result(command: Stop, kind: str, *, error: str, message: str) -> None:
        journal.command_add(command_id=command.id, kind=kind, error=error)

    supervisor: Any = SimpleNamespace(attempt_stop=stop, command_result=result)
    commands = Commands(
        journal=journal, supervisor=supervisor, discard=lambda _hashes: None, staging=supervisor
    )
    message = command_dump(Stop(id="stop-1", instance=1, attempt=1, mode="save"))
    commands.handle(message)
    assert (done, journal.command_done("stop-1")) == ([], False)
    full.clear()
    commands.handle(message)
    commands.handle(message)
    assert (done, journal.command_done("stop-1")) == (["stop-1"], True)


def test_a_trainer_that_met_a_full_disk_is_known_though_it_could_not_say_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the journal had to wait for room, or the agent was killed and begins when there is room."""
    free, clock = [10**9], [1000.0]
    monkeypatch.setattr(
        "nodeagent.supervisor.fulldisk.shutil.disk_usage",
        lambda _path: SimpleNamespace(free=free[0]),
    )
    monkeypatch.setattr("nodeagent.supervisor.fulldisk.clock_s", lambda: clock[0])

    def run_of(full_disk: FullDisk) -> Any:
        run: Any = object.__new__(Run)
        run._parts = SimpleNamespace(full_disk=full_disk)
        run._disk_was_full = False
        return run

    run = run_of(FullDisk(tmp_path))
    assert not run._has_met_full_disk()
    free[0] = 0
    assert run._has_met_full_disk()
    free[0], clock[0] = 10**9, 1100.0
    assert run._has_met_full_disk()
    assert run_of(FullDisk(tmp_path))._has_met_full_disk(), "another life of the agent"
    clock[0] = 2000.0
    assert run._has_met_full_disk(), "remembered of this one"
    assert not run_of(FullDisk(tmp_path))._has_met_full_disk(), "long ago"
