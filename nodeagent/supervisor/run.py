"""One attempt while the agent has something to do for it: a small state machine, stepped by the loop."""

import logging
import threading
import time
from concurrent.futures import Future
from typing import Any

import msgspec

from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import FILE_STREAMS, Chunk, Files, Report, Stream
from nodeagent.journal import Handle, Record
from nodeagent.runtimes.base import Launch, RuntimeFault, Signal
from nodeagent.supervisor.admission import Refusal, mounts_resolve
from nodeagent.supervisor.closing import events_of, outcome_read
from nodeagent.supervisor.parts import Parts, cpu_share
from nodeagent.tail import Tail
from nodeagent.transfer.inputs import TransferCancelled, TransferFault
from nodeagent.workspace import JobFolder

log = logging.getLogger(__name__)

STATE_EVERY_S = 0.025
NOW_GRACE_S = 2.0
KILL_AGAIN_S = 2.0
DRAIN_PATIENCE_S = 2.0
SETTLED_EVERY_S = 1.0

_TROUBLE = {
    "tail:unsafe_file": "{} is a link or no regular file and is not followed.",
    "tail:file_shrank": "{} became shorter; what was written over is not shown.",
    "tail:file_replaced": "{} was replaced by another file.",
    "tail:too_long": "{} is too long: only its beginning is shown here, all of it is in the file.",
}


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """What was found out after the end."""

    outcome: Outcome
    files: Files


class Run:
    """Stepped by the supervisor's thread alone; `stop` and `rewind` are called under its lock."""

    def __init__(self, record: Record, folder: JobFolder, parts: Parts) -> None:
        self.record = record
        self.folder = folder
        self._parts = parts
        self._cancel = threading.Event()
        self._fetching: Future[None] | None = None
        self._launching: Future[Handle] | None = None
        self._cleaning: Future[None] | None = None
        self._closing: Future[Closing] | None = None
        self._forgetting: Future[None] | None = None
        self._manifest: Future[Files] | None = None
        self._manifest_wanted = False
        self._tails: dict[Stream, Tail] = {}
        self._state_at = 0.0
        self._told: str = ""
        self._kill_at = 0.0
        self._drained_at = 0.0
        self._look_at = 0.0
        self._hungry = False
        self.settled = False
        if record.stop is not None:
            self._cancel.set()

    @property
    def name(self) -> str:
        return f"lf-{self.record.instance}-a{self.record.attempt}"

    @property
    def is_busy(self) -> bool:
        """Files may grow, or some of them are not read yet: step often."""
        return self.record.is_live or self._hungry

    # -- called by the supervisor

    def recover(self) -> None:
        """After an unexpected error: whatever was under way begins anew."""
        self._fetching = self._launching = self._cleaning = self._closing = self._manifest = None
        self._forgetting = None

    def rewind(self, name: str, position: int) -> None:
        """Read the stream of this name again from there."""
        for stream in FILE_STREAMS:
            if stream == name and self.folder.path.exists():
                self._tail(stream).position = position
        self._look_at = 0.0
        self._hungry = True
        self.settled = False

    def stop(self) -> None:
        """The record's stop is new or sharper."""
        self._cancel.set()
        self._told = ""

    def step(self, now: float) -> None:
        """Do what can be done now without waiting."""
        match self.record.phase:
            case Phase.ACCEPTED:
                self._prepare()
            case Phase.PREPARING:
                self._fetched()
            case Phase.STARTING:
                self._launched()
            case Phase.RUNNING:
                self._follow()
                self._watch(now)
            case Phase.FINISHING:
                self._finish(now)
            case Phase.ENDED | Phase.REFUSED:
                self._settle(now)

    # -- before the process

    def _phase(self, phase: Phase, *, outcome: Outcome = Outcome.NONE) -> None:
        self.record.phase = phase
        self._parts.outbox.phase(self.record, outcome=outcome)

    def _prepare(self) -> None:
        if self.record.stop is not None:
            self._refuse("command:stopped_before_start", "Stopped before it was started.")
        else:
            self._phase(Phase.PREPARING)

    def _fetch(self) -> None:
        """In the pool: have everything that the job wants."""
        spec, fetcher = self.record.spec, self._parts.fetcher
        if spec is None:
            raise Refusal("command:no_spec", "The start was never received.")
        self.folder.create()
        self._parts.runtime.prepare(
            spec.image,
            say=lambda detail: self._parts.outbox.note(self.record, reason="", detail=detail),
            cancelled=self._cancel.is_set,
        )
        if self._cancel.is_set():
            raise TransferCancelled
        for wanted in spec.inputs:
            fetcher.place(wanted, self.folder, cancelled=self._cancel.is_set)

    def _launch(self) -> Handle:
        """In the pool: start it, or find what an earlier life of the agent started."""
        spec, runtime = self.record.spec, self._parts.runtime
        found = runtime.find(self.name, self.folder)
        if found is not None and found.spec in {"", self.record.spec_hash}:
            return found
        if self._cancel.is_set():
            raise TransferCancelled
        if spec is None:
            raise Refusal("command:no_spec", "The start was never received.")
        return runtime.start(
            Launch(
                name=self.name,
                instance=spec.instance,
                attempt=spec.attempt,
                spec_hash=spec.spec_hash,
                folder=self.folder,
                argv=spec.argv,
                env={**cpu_share(spec, slots=self._parts.cpu_slots), **spec.env},
                devices=spec.devices,
                mounts=mounts_resolve(spec, self._parts.model_roots),
                processes=spec.processes,
                image=spec.image,
            )
        )

    def _fetched(self) -> None:
        if self._fetching is None:
            self._fetching = self._parts.pool.submit(self._fetch)
        elif self._fetching.done() and self._tried(self._fetching):
            self._phase(Phase.STARTING)

    def _launched(self) -> None:
        if self._launching is None:
            self._launching = self._parts.pool.submit(self._launch)
        elif self._launching.done() and self._tried(self._launching):
            self.record.handle = self._launching.result()
            self.record.boot_id = self._parts.boot_id
            self._phase(Phase.RUNNING)

    def _tried(self, future: Future[Any]) -> bool:
        """Whether it worked; if not, the attempt is refused with the reason."""
        try:
            future.result()
        except TransferCancelled:
            self._refuse("command:stopped_before_start", "Stopped before it was started.")
        except (TransferFault, RuntimeFault, Refusal) as fault:
            self._refuse(fault.reason, fault.detail)
        except OSError as error:
            self._refuse("node:disk_error", str(error))
        else:
            return True
        return False

    def _refuse(self, reason: str, detail: str) -> None:
        log.warning("%s: refused, %s: %s", self.name, reason, detail)
        self.record.reason, self.record.detail = reason, detail
        self._phase(Phase.REFUSED)

    # -- while it runs

    def _tail(self, stream: Stream) -> Tail:
        tail = self._tails.get(stream)
        if tail is None:
            key = (self.record.instance, self.record.attempt, stream)
            position = self._parts.reporter.acked_end(key)
            tail = self._tails[stream] = Tail(folder=self.folder, stream=stream, position=position)
        return tail

    def _follow(self) -> bool:
        """Offer what is new in the files. True when there is nothing more, or no room for it."""
        for stream in FILE_STREAMS:
            self._tail(stream)
        read = [self._read(tail) for tail in self._tails.values()]  # each gets its turn
        return all(read)

    def _read(self, tail: Tail) -> bool:
        reporter, record = self._parts.reporter, self.record
        while reporter.room_bytes() > 0:
            piece = tail.read()
            if piece is None:
                self._tell_trouble(tail)
                return True
            reporter.chunk_offer(
                Report(
                    node=self._parts.node,
                    stream=tail.stream,
                    body=Chunk(data=piece.data),
                    instance=record.instance,
                    attempt=record.attempt,
                    start=piece.start,
                    end=piece.end,
                    at=time.time(),
                )
            )
            tail.position = piece.end
            if tail.stream == "event" and "checkpoint" in events_of(piece.data):
                self._manifest_wanted = True
        return False

    def _tell_trouble(self, tail: Tail) -> None:
        trouble = tail.trouble_take()
        if trouble:
            detail = _TROUBLE[trouble].format(tail.relative)
            log.warning("%s: %s", self.name, detail)
            self._parts.outbox.note(self.record, reason=trouble, detail=detail)

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
            self._apply_stop(record.handle, now)
            self._manifest_after_checkpoint()
            return
        is_cut_off = rebooted and state.exit_code is None
        reason = "node:rebooted" if is_cut_off else state.reason
        self._ended(state.exit_code, state.killed_by, reason)

    def _ended(self, exit_code: int | None, killed_by: int | None, reason: str) -> None:
        record = self.record
        record.exit_code, record.killed_by, record.reason = exit_code, killed_by, reason
        self._phase(Phase.FINISHING)

    def _apply_stop(self, handle: Handle, now: float) -> None:
        stop = self.record.stop
        if stop is None:
            return
        runtime = self._parts.runtime
        if self._told != stop.mode:
            gentle = stop.mode == "save"
            runtime.signal(handle, self.folder, Signal.TERM if gentle else Signal.TERM_ALL)
            self._told = stop.mode
            grace_s = stop.grace_s if gentle else NOW_GRACE_S
            # by the wall clock only across a restart of the agent, and never longer than the grace
            passed_s = min(max(time.time() - self.record.stop_at, 0.0), grace_s)
            self._kill_at = now + grace_s - passed_s
        elif now >= self._kill_at:
            log.warning("%s: did not end in time, killed", self.name)
            runtime.signal(handle, self.folder, Signal.KILL)
            self._kill_at = now + KILL_AGAIN_S

    def _manifest_after_checkpoint(self) -> None:
        if self._manifest is not None:
            if not self._manifest.done():
                return
            self._parts.outbox.files(self.record, self._manifest.result())
            self._manifest = None
        if self._manifest_wanted:
            self._manifest_wanted = False
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
            self._follow()
            return
        if self._closing is None:
            if not self._drain(now):
                return
            self.record.sizes = self._sizes()
            self._closing = self._parts.pool.submit(self._close)
        if self._closing.done():
            closing = self._closing.result()
            self._parts.outbox.files(self.record, closing.files)
            self._phase(Phase.ENDED, outcome=closing.outcome)
            log.info("%s: ended with %s", self.name, self.record.exit_code)

    def _clean(self, handle: Handle | None) -> None:
        if handle is not None:
            self._parts.runtime.clean(handle, self.folder)

    def _drain(self, now: float) -> bool:
        """Whether the files are read to their end, or nobody takes the rest for now."""
        if not self._drained_at:
            self._drained_at = now
            for stream in FILE_STREAMS:
                self._tail(stream).look_again()
        return self._follow() or now - self._drained_at >= DRAIN_PATIENCE_S

    def _sizes(self) -> dict[str, int]:
        """Where each stream ends. While nobody takes reports, that is behind what was offered."""
        sizes: dict[str, int] = {}
        for tail in self._tails.values():
            offered = tail.position
            while (piece := tail.read()) is not None:
                tail.position = piece.end
            sizes[tail.stream] = tail.position
            tail.position = offered
        return sizes

    def _close(self) -> Closing:
        """In the pool: hash what the job left."""
        return Closing(
            outcome=outcome_read(self.folder),
            files=self._parts.manifests.make(self.folder, complete=True),
        )

    def _settle(self, now: float) -> None:
        """Files go on being sent until the control plane has all of them."""
        if now < self._look_at:
            return
        drained = True
        for stream in FILE_STREAMS:
            size = self.record.sizes.get(stream, 0)
            key = (self.record.instance, self.record.attempt, stream)
            acked = self._parts.reporter.acked_end(key)
            if acked >= size and stream not in self._tails:
                continue
            tail = self._tail(stream)
            if tail.position < size:
                drained = self._read(tail) and drained
            elif acked >= size:
                self._tails.pop(stream).close()
        self._hungry = not drained
        self._look_at = now + (SETTLED_EVERY_S if drained else 0.0)
        self.settled = not self._tails and self._forgotten()

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
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()
