"""The only way by which journalled reports leave: written down first, then offered, in one order."""

import threading
import time

from nodeagent.contract.commands import Command
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import (
    CommandResult,
    Files,
    PhaseChange,
    Report,
    Stream,
)
from nodeagent.journal import Journal, Record
from nodeagent.reporter import Reporter


class Outbox:
    """Thread-safe."""

    def __init__(self, *, node: str, journal: Journal, reporter: Reporter) -> None:
        self._node = node
        self._journal = journal
        self._reporter = reporter
        self._lock = threading.Lock()

    def phase(self, record: Record, *, outcome: Outcome = Outcome.NONE) -> None:
        """Journal the record as it is now and report its phase, both or neither."""
        body = PhaseChange(
            phase=record.phase,
            detail=record.detail,
            reason=record.reason,
            exit_code=record.exit_code,
            killed_by=record.killed_by,
            outcome=outcome,
            pid=record.handle.trainer_pid if record.handle else None,
            sizes=dict(record.sizes) if record.phase is Phase.ENDED else {},
            steps=list(record.steps.values()),
            dirty=dict(record.dirty) if record.phase is Phase.ENDED else {},
        )
        self._send("phase", body, record.instance, record.attempt, save=record)

    def note(self, record: Record, *, reason: str, detail: str) -> None:
        """Report a finding about a running attempt; its phase stays."""
        body = PhaseChange(phase=record.phase, reason=reason, detail=detail)
        self._send("phase", body, record.instance, record.attempt)

    def steps(self, record: Record) -> None:
        """Report how far getting ready is; the phase stays."""
        body = PhaseChange(phase=record.phase, steps=list(record.steps.values()))
        self._send("phase", body, record.instance, record.attempt, save=record)

    def keep(self, record: Record) -> None:
        """Journal the record as it is now; nothing of it is for others."""
        self._journal.record_save(record)

    def files(self, record: Record, files: Files) -> None:
        """Report a manifest."""
        self._send("files", files, record.instance, record.attempt)

    def result(self, command: Command, kind: str, *, error: str = "", message: str = "") -> None:
        """Note a command as done and report what became of it."""
        body = CommandResult(command=command.id, kind=kind, error=error, message=message)
        self._send("result", body, command.instance, command.attempt, done=command.id)

    def _send(
        self,
        stream: Stream,
        body: PhaseChange | Files | CommandResult,
        instance: int,
        attempt: int,
        *,
        save: Record | None = None,
        done: str = "",
    ) -> None:
        def report(seq: int) -> Report:
            return Report(
                node=self._node,
                stream=stream,
                body=body,
                instance=instance,
                attempt=attempt,
                start=seq - 1,
                end=seq,
                at=time.time(),
            )

        with self._lock:
            with self._journal.transaction():
                if save is not None:
                    self._journal.record_save(save)
                if done and isinstance(body, CommandResult):
                    self._journal.command_add(command_id=done, kind=body.kind, error=body.error)
                seq, packed = self._journal.report_add(report)
            self._reporter.journalled_offer(seq, packed)
