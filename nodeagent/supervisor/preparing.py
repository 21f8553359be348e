"""What happens before the process: everything that the job wants is had, then the runtime starts it."""

import logging
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import msgspec

from nodeagent.contract import paths
from nodeagent.contract.commands import Fetch, Start
from nodeagent.contract.phases import StepName
from nodeagent.journal import Handle, Record
from nodeagent.runtimes.base import Launch, RuntimeFault
from nodeagent.supervisor.admission import Refusal, mounts_resolve
from nodeagent.supervisor.background import in_background
from nodeagent.supervisor.fencing import lease_environment
from nodeagent.supervisor.parts import Parts, cpu_share
from nodeagent.supervisor.steps import Steps
from nodeagent.transfer.inputs import TransferCancelled, TransferFault
from nodeagent.workspace import JobFolder

log = logging.getLogger(__name__)

SAY_EVERY_S = 2.0
SECRETS_VARIABLE = "CB_SECRETS"  # tells the plugin where they lie
STOPPED_BEFORE_START = ("command:stopped_before_start", "Stopped before it was started.")


class Preparation:
    """Of one attempt. `prepared` and `launched` never wait: what takes time goes to other threads.

    cancel: set when the attempt is to end. What is fetched then is given up at once, even while somebody
    far away does not answer; what may have started something is waited for.
    """

    def __init__(
        self, record: Record, folder: JobFolder, parts: Parts, *, cancel: threading.Event
    ) -> None:
        self._record = record
        self._folder = folder
        self._parts = parts
        self._cancel = cancel
        self._steps = Steps(record, limits=parts.limits)
        self._said_at = 0.0
        self._fetching: Future[None] | None = None
        self._launching: Future[Handle] | None = None

    def recover(self) -> None:
        """After an unexpected error: whatever was under way begins anew."""
        self._fetching = self._launching = None

    def prepared(self) -> bool:
        """Whether everything is there. Raises Refusal when it cannot be had."""
        if self._fetching is None:
            self._said_at = time.monotonic()
            self._fetching = in_background(self._fetch, name=f"prepare-{self._name}")
        if self._fetching.done():
            _result(self._fetching)
            return True
        if self._cancel.is_set():
            raise Refusal(*STOPPED_BEFORE_START)
        self._overdue_check()
        self._say()
        return False

    def launched(self) -> Handle | None:
        """How to find what was started, None while that is under way. Raises Refusal."""
        if self._launching is None:
            self._launching = self._parts.pool.submit(self._launch)
        if not self._launching.done():
            return None
        handle: Handle = _result(self._launching)
        return handle

    def _overdue_check(self) -> None:
        try:
            self._steps.overdue_check()
        except Refusal:
            self._cancel.set()  # so that the thread which works on it ends
            raise

    def _say(self) -> None:
        now = time.monotonic()
        if now - self._said_at >= SAY_EVERY_S and self._steps.news():
            self._said_at = now
            self._parts.outbox.steps(self._record)

    @property
    def _name(self) -> str:
        return f"lf-{self._record.instance}-a{self._record.attempt}"

    @property
    def _spec(self) -> Start:
        if self._record.spec is None:
            raise Refusal("command:no_spec", "The start was never received.")
        return self._record.spec

    def _fetch(self) -> None:
        """In a thread of its own: have everything that the job wants."""
        spec, steps = self._spec, self._steps
        self._folder.create()
        with steps.step(StepName.IMAGE):
            self._parts.runtime.prepare(
                spec.image, say=steps.progress, cancelled=self._cancel.is_set
            )
        if self._cancel.is_set():
            raise TransferCancelled
        models = [one for one in spec.fetches if one.kind == "model"]
        if models:
            with steps.step(StepName.MODEL):
                self._hub(spec, models)
        datasets = [one for one in spec.fetches if one.kind == "dataset"]
        if spec.inputs or datasets:
            with steps.step(StepName.DATA):
                self._inputs(spec)
                self._hub(spec, datasets)

    def _hub(self, spec: Start, fetches: list[Fetch]) -> None:
        revisions = []
        for wanted in fetches:
            had = self._parts.hub.have(
                wanted,
                image=spec.image,
                say=self._steps.progress,
                cancelled=self._cancel.is_set,
            )
            self._record.fetched = {**self._record.fetched, wanted.target: str(had.path)}
            revisions.append(had.revision)
            self._steps.revision(",".join(revisions))

    def _inputs(self, spec: Start) -> None:
        total = sum(wanted.size_bytes for wanted in spec.inputs)
        done = 0
        for wanted in spec.inputs:
            self._steps.progress(done_bytes=done, total_bytes=total)
            self._parts.fetcher.place(wanted, self._folder, cancelled=self._cancel.is_set)
            done += wanted.size_bytes
        self._steps.progress(done_bytes=done, total_bytes=total)

    def _launch(self) -> Handle:
        """In the pool: start it, or find what an earlier life of the agent started."""
        runtime = self._parts.runtime
        found = runtime.find(self._name, self._folder)
        if found is not None and found.spec in {"", self._record.spec_hash}:
            return found
        if self._cancel.is_set():
            raise TransferCancelled
        # only now that nothing was found: while the engine is away, nobody knows whether it was started
        self._overdue_check()
        if self._spec.secrets:
            values = {
                one.name: self._parts.fetcher.secret_get(one.url).decode()
                for one in self._spec.secrets
            }
            self._folder.secrets_put(msgspec.json.encode(values))
        with self._steps.step(StepName.CONTAINER):
            return runtime.start(self._launch_of(self._spec))

    def _environment(self, spec: Start) -> dict[str, str]:
        own = cpu_share(spec, slots=self._parts.cpu_slots) | lease_environment(spec)
        if spec.secrets:
            own[SECRETS_VARIABLE] = paths.SECRETS
        return {**own, **spec.env}

    def _launch_of(self, spec: Start) -> Launch:
        own = {target: Path(path) for target, path in self._record.fetched.items()}
        if spec.fence_after_s > 0:
            own[paths.LEASE] = self._parts.contact.lease.folder
        return Launch(
            name=self._name,
            instance=spec.instance,
            attempt=spec.attempt,
            spec_hash=spec.spec_hash,
            folder=self._folder,
            argv=spec.argv,
            env=self._environment(spec),
            devices=spec.devices,
            mounts={**mounts_resolve(spec.mounts, self._parts.model_roots), **own},
            processes=spec.processes,
            image=spec.image,
            network=spec.network,
        )


def _result(future: Future[Any]) -> Any:
    """What came of it; every way in which it can fail as a Refusal with its reason."""
    try:
        return future.result()
    except TransferCancelled as cancelled:
        raise Refusal(*STOPPED_BEFORE_START) from cancelled
    except (TransferFault, RuntimeFault) as fault:
        raise Refusal(fault.reason, fault.detail) from fault
    except OSError as error:
        raise Refusal("node:disk_error", str(error)) from error
