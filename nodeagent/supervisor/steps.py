"""The steps of getting an attempt ready: when each began and ended, how far it is, how long it may take."""

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import msgspec

from nodeagent.contract.phases import PREPARE_TIMEOUT
from nodeagent.contract.reports import Step
from nodeagent.journal import Record
from nodeagent.supervisor.admission import Refusal

log = logging.getLogger(__name__)


class Steps:
    """Of one attempt; kept in its record, so that they go on where they were after a restart of the agent.

    limits: name of a step -> seconds that it may take; 0, or none given = as long as it takes.
    """

    def __init__(self, record: Record, *, limits: Mapping[str, float]) -> None:
        self._record = record
        self._limits = limits
        self._lock = threading.Lock()
        self._running = ""
        self._until: float | None = None
        self._is_news = False

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """The block is this step. One that raises has not ended."""
        known = self._record.steps.get(name)
        began = known.began if known is not None and not known.ended else time.time()
        self._put(Step(name=name, began=began))
        limit_s = self._limits.get(name, 0.0)
        # by the wall clock only across a restart of the agent; it may have been set back meanwhile
        spent_s = min(max(time.time() - began, 0.0), limit_s)
        with self._lock:
            self._running = name
            self._until = time.monotonic() + limit_s - spent_s if limit_s else None
        yield
        with self._lock:
            self._running, self._until = "", None
        step = self._record.steps[name]
        log.info(
            "lf-%s-a%s: %s took %.1f s",
            self._record.instance,
            self._record.attempt,
            name,
            time.time() - began,
        )
        done_bytes = step.total_bytes or step.done_bytes
        self._put(msgspec.structs.replace(step, ended=time.time(), done_bytes=done_bytes))

    def progress(self, *, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None:
        """How far the step under way is."""
        known = self._record.steps.get(self._running)
        if known is not None:
            told = {"done_bytes": done_bytes, "total_bytes": total_bytes, "detail": detail}
            self._put(msgspec.structs.replace(known, **told))

    def revision(self, revision: str) -> None:
        """What the step under way had of a model hub."""
        known = self._record.steps[self._running]
        self._put(msgspec.structs.replace(known, revision=revision))

    def news(self) -> bool:
        """Whether something changed since this was last asked."""
        with self._lock:
            is_news, self._is_news = self._is_news, False
        return is_news

    def overdue_check(self) -> None:
        """Raises Refusal when the step under way takes longer than it may."""
        with self._lock:
            name, until = self._running, self._until
        if until is not None and time.monotonic() >= until:
            limit = f"{self._limits[name]:.0f} s"
            raise Refusal(PREPARE_TIMEOUT, f"The step {name} took longer than {limit}.")

    def _put(self, step: Step) -> None:
        with self._lock:
            # a new dict each time: the record may be written down by another thread meanwhile
            self._record.steps = {**self._record.steps, step.name: step}
            self._is_news = True
