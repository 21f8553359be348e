"""The supervisor: one thread for all attempts of the node, a small pool for what takes time."""

import logging
import queue
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor

import msgspec

from nodeagent.contract.commands import Checkpoint, Command, Remove, Start, Stop
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import Held, JobSample
from nodeagent.journal import Handle, Journal, JournalFault, Record
from nodeagent.runtimes.base import RuntimeAway
from nodeagent.supervisor.admission import (
    Refusal,
    devices_check,
    mounts_resolve,
    order_check,
)
from nodeagent.supervisor.fencing import fence_stop, fenced_after_s
from nodeagent.supervisor.parts import Parts
from nodeagent.supervisor.run import Run
from nodeagent.workspace import Workspace

log = logging.getLogger(__name__)

BUSY_TICK_S = 0.005
IDLE_TICK_S = 0.25
POOL_THREADS = 4
AFTER_ERROR_S = 5.0
FENCE_EVERY_S = 0.5
HELD_SETTLED = 200
ASK_PATIENCE_S = 1.0
UNKNOWN_EVERY_S = 30.0

_BEFORE_START = ("command:stopped_before_start", "This attempt was stopped before it was started.")


class Supervisor:
    """Commands come in on any thread; only the supervisor's own thread moves attempts on.

    rewinds: where the reporter puts (stream key, position) to be read again. devices: what this node
    offers.
    """

    def __init__(
        self,
        *,
        parts: Parts,
        journal: Journal,
        workspace: Workspace,
        pool: ThreadPoolExecutor,
        rewinds: queue.SimpleQueue[tuple[tuple[int, int, str], int]],
        devices: set[str],
    ) -> None:
        self._parts = parts
        self._journal = journal
        self._workspace = workspace
        self._pool = pool
        self._rewinds = rewinds
        self._devices = devices
        self._lock = threading.RLock()
        self._runs: dict[tuple[int, int], Run] = {}
        self._removed: dict[tuple[int, int], Record] = {}
        self._held_back: dict[tuple[int, int], float] = {}
        self._fence_at = 0.0
        self._unknown_at = 0.0
        self._looking: Future[None] | None = None
        self._wakeup = threading.Event()
        self._stopping = False
        self._has_joined = False
        self._thread = threading.Thread(target=self._loop, name="supervisor", daemon=True)
        self._held: list[Held] = []
        self.unknown: list[str] = []

    # -- life

    def start(self) -> None:
        """Adopt what the journal knows and watch over it. What is to run yet waits until `joined`."""
        for record in self._journal.records():
            if record.removed:
                self._removed[record.key] = record
            else:
                self._runs[record.key] = self._run(record)
                if record.phase is Phase.RUNNING:
                    log.info("lf-%s-a%s: adopted", *record.key)
        self._held = self._inventory()
        self._unknown_find()
        self._unknown_at = time.monotonic() + UNKNOWN_EVERY_S
        self._pool.submit(self._workspace.trash_empty)
        self._thread.start()

    def joined(self) -> None:
        """The control plane answers: there is somebody to get inputs from."""
        self._has_joined = True
        self._wakeup.set()

    def stop(self) -> None:
        """End the thread. Trainings go on."""
        self._stopping = True
        self._wakeup.set()
        self._thread.join(5)
        self._pool.shutdown(wait=False, cancel_futures=True)
        for run in self._runs.values():
            run.close()
        self._parts.runtime.close()

    def _run(self, record: Record) -> Run:
        folder = self._workspace.job(record.instance, record.attempt)
        return Run(record, folder, self._parts)

    def _look_around(self, now: float) -> None:
        """Have somebody look for what runs here unknown to the journal, now and then; never waits for it."""
        if now < self._unknown_at or (self._looking is not None and not self._looking.done()):
            return
        error = self._looking.exception() if self._looking is not None else None
        if error is not None:
            log.error("what else runs here is not known: %s", error, exc_info=error)
        self._unknown_at = now + UNKNOWN_EVERY_S
        self._looking = self._pool.submit(self._unknown_find)

    def _known(self) -> set[str]:
        with self._lock:
            keys = (*self._runs, *self._removed)
        return {f"lf-{instance}-a{attempt}" for instance, attempt in keys}

    def _unknown_find(self) -> None:
        """Jobs of ours that run without the journal knowing them (its file was lost)."""
        known = self._known()
        folders = {
            f"lf-{key[0]}-a{key[1]}": self._workspace.job(*key)
            for key in self._workspace.attempts()
        }
        strange = [(name, folder) for name, folder in folders.items() if name not in known]
        try:
            running = set(self._parts.runtime.running(strange))
        except RuntimeAway as away:
            log.warning("what else runs here is not known: %s", away)
            return
        # what was accepted and started during the look is known by now
        self.unknown = sorted(running - known - self._known())

    def _loop(self) -> None:
        while not self._stopping:
            busy = self._tick(time.monotonic())
            self._wakeup.wait(BUSY_TICK_S if busy else IDLE_TICK_S)
            self._wakeup.clear()

    def _tick(self, now: float) -> bool:
        busy = False
        self._look_around(now)
        with self._lock:
            self._rewind_all()
            self._fence(now)
            for key, run in self._runs.items():
                if run.settled or self._held_back.get(key, 0.0) > now:
                    continue
                if run.is_to_begin and not self._has_joined:
                    continue
                self._step(run, now)
                busy = busy or run.is_busy
        return busy

    def _fence(self, now: float) -> None:
        """End what may be replaced elsewhere, since nobody has answered for long; nothing else, ever."""
        if now < self._fence_at:
            return
        self._fence_at = now + FENCE_EVERY_S
        self._parts.full_disk.look()
        silent_s = self._parts.contact.silent_s()
        for run in self._runs.values():
            stop = fence_stop(run.record, silent_s=silent_s)
            if stop is not None:
                log.warning(
                    "%s: cut off for %.0f s; ended, for it may be replaced", run.name, silent_s
                )
                self._stop_take(run, stop)

    def _step(self, run: Run, now: float) -> None:
        try:
            run.step(now)
        except (RuntimeAway, JournalFault) as away:
            log.warning("%s: %s; again in %.0f s", run.name, away, AFTER_ERROR_S)
            run.recover()
            self._held_back[run.record.key] = now + AFTER_ERROR_S
        except Exception:
            # one attempt's trouble must not end the watch over the others
            log.exception("%s: unexpected; again in %.0f s", run.name, AFTER_ERROR_S)
            run.recover()
            self._held_back[run.record.key] = now + AFTER_ERROR_S

    def _rewind_all(self) -> None:
        while True:
            try:
                (instance, attempt, stream), position = self._rewinds.get_nowait()
            except queue.Empty:
                return
            run = self._runs.get((instance, attempt))
            if run is not None:
                run.rewind(stream, position)

    # -- commands

    def attempt_start(self, start: Start) -> None:
        """Accept a start. One that is known already changes nothing. Raises Refusal."""
        key = (start.instance, start.attempt)
        with self._lock:
            run = self._runs.get(key)
            known = run.record if run else self._removed.get(key)
            if known is not None:
                self._known_start(known, start)
                return
            record = Record(
                instance=start.instance,
                attempt=start.attempt,
                phase=Phase.ACCEPTED,
                spec=start,
                spec_hash=start.spec_hash,
            )
            try:
                self._admit(start)
            except Refusal as refusal:
                record.phase = Phase.REFUSED
                record.reason, record.detail = refusal.reason, refusal.detail
                self._add(record)
                raise
            self._add(record)
        self._wakeup.set()

    def _admit(self, start: Start) -> None:
        records = [run.record for run in self._runs.values()]
        order_check(start, [one for one in records if one.instance == start.instance])
        gpus = self._parts.gpus
        dirty = gpus.dirty() if gpus is not None else {}
        devices_check(start, offered=self._devices, others=records, dirty=dirty)
        mounts_resolve(start.mounts, self._parts.model_roots)

    def _add(self, record: Record) -> None:
        self._parts.outbox.phase(record)
        self._runs[record.key] = self._run(record)

    def _known_start(self, known: Record, start: Start) -> None:
        if known.spec is None:
            raise Refusal(*_BEFORE_START)
        if known.spec_hash != start.spec_hash:
            raise Refusal(
                "command:spec_conflict", "This attempt is known here with another specification."
            )

    def attempt_stop(self, stop: Stop) -> None:
        """End an attempt; one that is not known yet will never start."""
        key = (stop.instance, stop.attempt)
        with self._lock:
            run = self._runs.get(key)
            if run is None:
                if key not in self._removed:
                    self._tombstone(stop)
                return
            if not run.record.is_live or _is_weaker(stop, run.record.stop):
                return
            self._stop_take(run, stop)
        self._wakeup.set()

    def _stop_take(self, run: Run, stop: Stop) -> None:
        # journalled first: a stop that could not be written down comes again and must not look old
        now = time.monotonic()
        self._journal.record_save(msgspec.structs.replace(run.record, stop=stop, stop_at=now))
        run.record.stop, run.record.stop_at = stop, now
        run.stop()

    def _tombstone(self, stop: Stop) -> None:
        self._add(
            Record(
                instance=stop.instance,
                attempt=stop.attempt,
                phase=Phase.REFUSED,
                stop=stop,
                reason=_BEFORE_START[0],
                detail=_BEFORE_START[1],
            )
        )

    def attempt_checkpoint(self, command: Checkpoint) -> None:
        """Ask the trainer to save and go on. Raises Refusal when it does not run.

        By a control file: SIGUSR1 would end a trainer that has not set its handler yet.
        """
        with self._lock:
            run = self._runs.get((command.instance, command.attempt))
            if run is None or run.record.phase is not Phase.RUNNING:
                raise Refusal("attempt:not_running", "This attempt does not run.")
            try:
                run.folder.control_put("save")
            except OSError as error:
                raise Refusal("attempt:folder_unsafe", f"The control folder: {error}") from error

    def instance_remove(self, command: Remove) -> None:
        """Delete an instance's files up to this attempt. Raises Refusal while one of those lives."""
        with self._lock:
            runs = [
                run
                for key, run in self._runs.items()
                if key[0] == command.instance and key[1] <= command.attempt
            ]
            if any(run.record.is_live for run in runs):
                raise Refusal("instance:live", "An attempt of this instance still runs.")
            for run in runs:
                run.close()
                self._parts.manifests.forget(run.folder)
                if run.record.handle is not None:
                    self._pool.submit(self._forget, run.record.handle)
                run.record.removed = True
                self._journal.record_save(run.record)
                del self._runs[run.record.key]
                self._removed[run.record.key] = run.record
            self._workspace.discard(command.instance, up_to=command.attempt)
            self._parts.reporter.forget(command.instance, up_to=command.attempt)
        self._pool.submit(self._workspace.trash_empty)

    def _forget(self, handle: Handle) -> None:
        """In the pool."""
        try:
            self._parts.runtime.forget(handle)
        except RuntimeAway as away:
            log.warning("%s is left behind in the runtime: %s", handle.name, away)

    def command_result(self, command: Command, kind: str, *, error: str, message: str) -> None:
        """Journal and report what became of a command."""
        self._parts.outbox.result(command, kind, error=error, message=message)

    # -- what others ask

    def held(self) -> list[Held]:
        """The inventory for the heartbeat: all that is not settled, and the newest that is.

        Not every job there ever was: a heartbeat must not grow with a node's age. The newest settled ones
        stay, for a control plane that forgot their end (a restored backup). While a step waits for an
        engine that does not answer, it is the inventory of before: nothing begins or ends meanwhile, and
        a node whose engine hangs is not dead.
        """
        if not self._lock.acquire(timeout=ASK_PATIENCE_S):
            return self._held
        try:
            self._held = self._inventory()
        finally:
            self._lock.release()
        return self._held

    def _inventory(self) -> list[Held]:
        runs = list(self._runs.values())
        named = set(sorted(run.record.key for run in runs if run.settled)[-HELD_SETTLED:])
        return [
            Held(
                instance=run.record.instance,
                attempt=run.record.attempt,
                phase=run.record.phase,
                spec_hash=run.record.spec_hash,
                fenced_after_s=fenced_after_s(run.record),
            )
            for run in runs
            if not run.settled or run.record.key in named
        ]

    def live_records(self) -> list[Record]:
        """Attempts that have not ended."""
        with self._lock:
            return [run.record for run in self._runs.values() if run.record.is_live]

    def job_samples(self) -> list[JobSample]:
        """What every running attempt uses now."""
        with self._lock:
            running = [
                (run.record.key, run.record.handle)
                for run in self._runs.values()
                if run.record.phase is Phase.RUNNING and run.record.handle is not None
            ]
        samples = []
        for (instance, attempt), handle in running:
            usage = self._parts.runtime.usage(handle)
            if usage is not None:
                samples.append(
                    JobSample(
                        instance=instance,
                        attempt=attempt,
                        cpu_percent=usage.cpu_percent,
                        memory_bytes=usage.memory_bytes,
                        processes=usage.processes,
                    )
                )
        return samples


def _is_weaker(stop: Stop, known: Stop | None) -> bool:
    """Asking again, or asking gently after asking hard, changes nothing."""
    return known is not None and (known.mode == "now" or stop.mode == "save")
