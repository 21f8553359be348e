"""A machine that started anew: what ran before is over, whatever has its pid now; what was journalled is there."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodeagent.contract.phases import Phase
from nodeagent.journal import Handle, Journal, Record
from nodeagent.runtimes.base import State
from nodeagent.supervisor.run import Run
from nodeagent.workspace import Workspace


@pytest.mark.parametrize(
    ("found", "reason", "exit_code"),
    [
        (State(running=True), "node:rebooted", None),  # another process by now
        (State(running=False), "node:rebooted", None),
        (State(running=False, exit_code=0), "", 0),  # it had ended before
    ],
)
def test_what_ran_before_the_machine_started_anew_has_ended(
    tmp_path: Path, found: State, reason: str, exit_code: int | None
) -> None:
    told: list[tuple[Phase, str]] = []

    def phase(record: Record, **_more: Any) -> None:
        told.append((record.phase, record.reason))

    parts: Any = SimpleNamespace(
        boot_id="after",
        runtime=SimpleNamespace(state=lambda *_args: found),
        full_disk=SimpleNamespace(is_recent=lambda: False),
        outbox=SimpleNamespace(phase=phase),
    )
    run: Any = object.__new__(Run)
    run.record = Record(
        instance=1, attempt=1, phase=Phase.RUNNING, handle=Handle(name="lf-1-a1"), boot_id="before"
    )
    run.folder = Workspace(tmp_path).job(1, 1)
    run._parts, run._state_at, run._is_overdue, run._disk_was_full = parts, 0.0, False, False
    run._watch(1.0)
    assert told == [(Phase.FINISHING, reason)]
    assert run.record.exit_code == exit_code


def test_a_commit_of_the_journal_is_on_the_disk_before_it_returns(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite3")
    asked = {
        name: journal._db.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("journal_mode", "synchronous")
    }
    assert asked == {"journal_mode": "wal", "synchronous": 2}, "FULL: fsync with every commit"
    journal.close()
