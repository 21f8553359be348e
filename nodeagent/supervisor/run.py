"""One attempt while the agent has something to do for it: a small state machine, stepped by the loop."""

import logging
import threading
from typing import TYPE_CHECKING

import msgspec

from nodeagent.contract.phases import PREPARE_TIMEOUT, Outcome, Phase
from nodeagent.contract.reports import Files
from nodeagent.journal import Handle, Record
from nodeagent.runtimes.base import Signal
from nodeagent.supervisor.admission import Refusal
from nodeagent.supervisor.closing import outcome_read
from nodeagent.supervisor.diskwatch import DiskWatch
from nodeagent.supervisor.fencing import FENCED, FENCED_DETAIL, is_fenced
from nodeagent.supervisor.following import Following
from nodeagent.supervisor.parts import Parts
from nodeagent.supervisor.preparing import STOPPED_BEFORE_START, Preparation
from nodeagent.supervisor.stopping import Stopping
from nodeagent.workspace import JobFolder

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

IMPORTS = "imports"  # name of a limit; a step that the control plane reads off the trainer's events
STATE_EVERY_S = 0.025
DISK_FULL = "node:disk_full"
DRAIN_PATIENCE_S = 2.0
SETTLED_EVERY_S = 1.0
_BEFORE_RUNNING = frozenset({Phase.ACCEPTED, Phase.PREPARING, Phase.STARTING})


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out after the end. dirty: GPU -> why it is not free."""

    outcome: Outcome
    files: Files
    dirty: dict[str, str]


class Run:
    """Stepped by the supervisor's thread alone; `stop` and `rewind` are called under its lock."""

    def __init__(self, record: Record, folder: JobFolder, parts: Parts) -> None:
        self.record = record
        self.folder = folder
        self._parts = parts
        self._cancel = threading.Event()
        self._preparation = Preparation(record, folder, parts, cancel=self._cancel)
        self._following = Following(record, folder, parts)
        self._stopping = Stopping(record, folder, parts.runtime)
        self._disk = DiskWatch(record, folder, parts)
        self._cleaning: Future[None] | None = None
        self._closing: Future[Closing] | None = None
        self._forgetting: Future[None] | None = None
        self._manifest: Future[Files] | None = None
        self._state_at = 0.0
        self._imports_until: float | None = None  # not known of one that was adopted
        self._is_overdue = False
        self._drained_at = 0.0
        self._look_at = 0.0
        self._hungry = False
        self.settled = False
        self._disk_was_full = False
        if record.stop is not None:
            self._cancel.set()

    @property
    def name(self) -> str:
        return f"lf-{self.record.instance}-a{self.record.attempt}"

    @property
    def is_busy(self) -> bool:
        """Files may grow, or some of them are not read yet: step often."""
        return self.record.is_live or self._hungry

    @property
    def is_to_begin(self) -> bool:
        """It has not run yet, and is to."""
        return self.record.phase in _BEFORE_RUNNING and self.record.stop is None

    # -- called by the supervisor

    def recover(self) -> None:
        """After an unexpected error: whatever was under way begins anew."""
        self._preparation.recover()
        self._cleaning = self._closing = self._manifest = self._forgetting = None

    def rewind(self, name: str, position: int) -> None:
        """Read the stream of this name again from there."""
        self._following.rewind(name, position)
        self._look_at = 0.0
        self._hungry = True
        self.settled = False

    def stop(self) -> None:
        """The record's stop is new or sharper."""
        self._cancel.set()
        self._stopping.again()

    def step(self, now: float) -> None:
        """Do what can be done now without waiting."""
        match self.record.phase:
            case Phase.ACCEPTED | Phase.PREPARING | Phase.STARTING:
                self._prepare(now)
            case Phase.RUNNING:
                self._following.follow()
                self._watch(now)
            case Phase.FINISHING:
                self._finish(now)
            case Phase.ENDED | Phase.REFUSED:
                self._settle(now)

    # -- before the process

    def _phase(self, phase: Phase, *, outcome: Outcome = Outcome.NONE) -> None:
        """Both or neither: a phase that could not be journalled (a full disk) is tried again."""
        before, self.record.phase = self.record.phase, phase
        try:
            self._parts.outbox.phase(self.record, outcome=outcome)
        except BaseException:
            self.record.phase = before
            raise

    def _prepare(self, now: float) -> None:
        try:
            self._prepare_on(now)
        except Refusal as refusal:
            self._refuse(refusal.reason, refusal.detail)

    def _prepare_on(self, now: float) -> None:
        match self.record.phase:
            case Phase.ACCEPTED:
                if self.record.stop is not None:
                    raise Refusal(*STOPPED_BEFORE_START)
                self._phase(Phase.PREPARING)
            case Phase.PREPARING:
                if self._preparation.prepared():
                    self._phase(Phase.STARTING)
            case _:
                handle = self._preparation.launched()
                if handle is not None:
                    self.record.handle = handle
                    self.record.boot_id = self._parts.boot_id
                    limit_s = self._parts.limits.get(IMPORTS, 0.0)
                    self._imports_until = now + limit_s if limit_s else None
                    self._phase(Phase.RUNNING)

    def _refuse(self, reason: str, detail: str) -> None:
        if is_fenced(self.record, self.folder):
            reason, detail = FENCED, FENCED_DETAIL
        log.warning("%s: refused, %s: %s", self.name, reason, detail)
        self.record.reason, self.record.detail = reason, detail
        self._phase(Phase.REFUSED)

    # -- while it runs

    def _watch(self, now: float) -> None:
        if now < self._state_at:
            return
        self._state_at = now + STATE_EVERY_S
        record, runtime = self.record, self._parts.runtime
        if record.handle is None:
            record.handle = runtime.find(self.name, self.folder)
        if record.handle is None:
            self._ended(None, None, "process:lost")
            return
        state = runtime.state(record.handle, self.folder)
        rebooted = record.boot_id != self._parts.boot_id
        if state.running and not rebooted:
            if self._disk.step(now):
                self.stop()
            self._stopping.apply(record.handle, now)
            self._imports_check(record.handle, now)
            self._manifest_after_checkpoint()
            return
        is_cut_off = rebooted and state.exit_code is None
        reason = "node:rebooted" if is_cut_off else state.reason
        reason = PREPARE_TIMEOUT if self._is_overdue else reason
        if not reason and state.exit_code and self._has_met_full_disk():
            reason = DISK_FULL
        self._ended(state.exit_code, state.killed_by, reason)

    def _has_met_full_disk(self) -> bool:
        """Such a trainer cannot write why it ended. Remembered: the journal may have to wait for room too."""
        self._disk_was_full = self._disk_was_full or self._parts.full_disk.is_recent()
        return self._disk_was_full

    def _ended(self, exit_code: int | None, killed_by: int | None, reason: str) -> None:
        record = self.record
        if is_fenced(record, self.folder):
            reason, record.detail = FENCED, FENCED_DETAIL
        record.exit_code, record.killed_by = exit_code, killed_by
        record.reason = record.verdict or reason
        self._phase(Phase.FINISHING)

    def _imports_check(self, handle: Handle, now: float) -> None:
        """A trainer that hangs before its plugin is loaded holds its devices for nothing."""
        if self._following.has_loaded:
            self._imports_until = None
        if self._imports_until is None or now < self._imports_until:
            return
        self._imports_until = None
        self._is_overdue = True
        self.record.detail = (
            f"The step {IMPORTS} took longer than {self._parts.limits[IMPORTS]:.0f} s."
        )
        log.warning("%s: %s", self.name, self.record.detail)
        self._parts.runtime.signal(handle, self.folder, Signal.KILL)

    def _manifest_after_checkpoint(self) -> None:
        if self._manifest is not None:
            if not self._manifest.done():
                return
            self._parts.outbox.files(self.record, self._manifest.result())
            self._manifest = None
        if self._following.checkpoint_seen:
            self._following.checkpoint_seen = False
            self._manifest = self._parts.pool.submit(
                self._parts.manifests.make, self.folder, complete=False
            )

    # -- after the process

    def _finish(self, now: float) -> None:
        handle = self.record.handle
        if self._cleaning is None:
            self._drained_at = 0.0
            self._cleaning = self._parts.pool.submit(self._clean, handle)
        if not self._cleaning.done():
            self._following.follow()
            return
        if self._closing is None:
            if not self._drain(now):
                return
            self.record.sizes = self._following.sizes()
            self._closing = self._parts.pool.submit(self._close)
        if self._closing.done():
            closing = self._closing.result()
            self._parts.outbox.files(self.record, closing.files)
            self.record.dirty = closing.dirty
            self._phase(Phase.ENDED, outcome=closing.outcome)
            log.info("%s: ended with %s", self.name, self.record.exit_code)

    def _clean(self, handle: Handle | None) -> None:
        if handle is not None:
            self._parts.runtime.clean(handle, self.folder)
        trouble = self.folder.inputs_remove()
        if trouble:
            log.warning("%s: its inputs could not be removed: %s", self.name, trouble)
        try:
            self.folder.secrets_remove()
        except OSError as error:
            log.warning("%s: its secrets could not be removed: %s", self.name, error)

    def _drain(self, now: float) -> bool:
        """Whether the files are read to their end, or nobody takes the rest for now."""
        if not self._drained_at:
            self._drained_at = now
            self._following.look_again()
        return self._following.follow() or now - self._drained_at >= DRAIN_PATIENCE_S

    def _close(self) -> Closing:
        """In the pool: hash what the job left; its training data goes."""
        self.folder.inputs_clear()
        files = self._parts.manifests.make(self.folder, complete=True)
        return Closing(outcome=outcome_read(self.folder), files=files, dirty=self._gpus_wait())

    def _gpus_wait(self) -> dict[str, str]:
        """In the pool. The end is told, and the GPUs given back, only once their memory is free."""
        spec = self.record.spec
        if self._parts.gpus is None or spec is None:
            return {}
        return self._parts.gpus.free_wait(spec.devices)

    def _settle(self, now: float) -> None:
        """Files go on being sent until the control plane has all of them."""
        if now < self._look_at:
            return
        drained = self._following.settle()
        self._hungry = not drained
        self._look_at = now + (SETTLED_EVERY_S if drained else 0.0)
        self.settled = self._following.is_over and self._forgotten()

    def _forgotten(self) -> bool:
        """Whether the runtime keeps nothing more of it; only once the end is acknowledged."""
        if self.record.handle is None:
            return True
        if self._forgetting is None:
            if self._parts.reporter.journal_idle():
                handle = self.record.handle
                self._forgetting = self._parts.pool.submit(self._parts.runtime.forget, handle)
            return False
        if not self._forgetting.done():
            return False
        self._forgetting.result()
        self.record.handle = None
        self._parts.outbox.keep(self.record)
        return True

    def close(self) -> None:
        """Give descriptors back."""
        self._following.close()
