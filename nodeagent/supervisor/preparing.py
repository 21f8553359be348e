"""What happens before the process: everything that the job wants is had, then the runtime starts it."""

import logging
import threading
from concurrent.futures import Future
from typing import Any

from nodeagent.contract.commands import Start
from nodeagent.journal import Handle, Record
from nodeagent.runtimes.base import Launch, RuntimeFault
from nodeagent.supervisor.admission import Refusal, mounts_resolve
from nodeagent.supervisor.parts import Parts, cpu_share
from nodeagent.transfer.inputs import TransferCancelled, TransferFault
from nodeagent.workspace import JobFolder

log = logging.getLogger(__name__)

STOPPED_BEFORE_START = ("command:stopped_before_start", "Stopped before it was started.")


class Preparation:
    """Of one attempt. `prepared` and `launched` never wait: what takes time goes to the pool.

    cancel: set when the attempt is to end; what is under way then ends soon.
    """

    def __init__(
        self, record: Record, folder: JobFolder, parts: Parts, *, cancel: threading.Event
    ) -> None:
        self._record = record
        self._folder = folder
        self._parts = parts
        self._cancel = cancel
        self._fetching: Future[None] | None = None
        self._launching: Future[Handle] | None = None

    def recover(self) -> None:
        """After an unexpected error: whatever was under way begins anew."""
        self._fetching = self._launching = None

    def prepared(self) -> bool:
        """Whether everything is there. Raises Refusal when it cannot be had."""
        if self._fetching is None:
            self._fetching = self._parts.pool.submit(self._fetch)
        if not self._fetching.done():
            return False
        _result(self._fetching)
        return True

    def launched(self) -> Handle | None:
        """How to find what was started, None while that is under way. Raises Refusal."""
        if self._launching is None:
            self._launching = self._parts.pool.submit(self._launch)
        if not self._launching.done():
            return None
        handle: Handle = _result(self._launching)
        return handle

    @property
    def _name(self) -> str:
        return f"lf-{self._record.instance}-a{self._record.attempt}"

    @property
    def _spec(self) -> Start:
        if self._record.spec is None:
            raise Refusal("command:no_spec", "The start was never received.")
        return self._record.spec

    def _fetch(self) -> None:
        """In the pool: have everything that the job wants."""
        spec = self._spec
        self._folder.create()
        self._parts.runtime.prepare(
            spec.image,
            say=lambda detail: self._parts.outbox.note(self._record, reason="", detail=detail),
            cancelled=self._cancel.is_set,
        )
        if self._cancel.is_set():
            raise TransferCancelled
        for wanted in spec.inputs:
            self._parts.fetcher.place(wanted, self._folder, cancelled=self._cancel.is_set)

    def _launch(self) -> Handle:
        """In the pool: start it, or find what an earlier life of the agent started."""
        runtime = self._parts.runtime
        found = runtime.find(self._name, self._folder)
        if found is not None and found.spec in {"", self._record.spec_hash}:
            return found
        if self._cancel.is_set():
            raise TransferCancelled
        spec = self._spec
        return runtime.start(
            Launch(
                name=self._name,
                instance=spec.instance,
                attempt=spec.attempt,
                spec_hash=spec.spec_hash,
                folder=self._folder,
                argv=spec.argv,
                env={**cpu_share(spec, slots=self._parts.cpu_slots), **spec.env},
                devices=spec.devices,
                mounts=mounts_resolve(spec, self._parts.model_roots),
                processes=spec.processes,
                image=spec.image,
            )
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
