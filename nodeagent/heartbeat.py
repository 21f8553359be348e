"""Says every few seconds that the agent lives, what it holds, and how the machine fares."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import nodeagent
from nodeagent.contract.gpus import GpuState
from nodeagent.contract.reports import (
    GpuSample,
    Heartbeat,
    Held,
    JobSample,
    Report,
    Sample,
    Staged,
)
from nodeagent.probes.host import host_sample
from nodeagent.reporter import Reporter

log = logging.getLogger(__name__)


class Heart:
    """A thread for heartbeats and one for samples: reading a sick card or asking a hung engine may take long.

    gpu_look, gpu_states, held, unknown, jobs, mark, left_out, cached, staged and models are asked each time.
    """

    def __init__(
        self,
        *,
        node: str,
        boot_id: str,
        agent_id: str,
        file_url: str,
        folder: Path,
        heartbeat_s: float,
        sample_s: float,
        reporter: Reporter,
        gpu_look: Callable[[], list[GpuSample]],
        gpu_states: Callable[[], list[GpuState]],
        held: Callable[[], list[Held]],
        unknown: Callable[[], list[str]],
        jobs: Callable[[], list[JobSample]],
        mark: Callable[[], str],
        left_out: Callable[[], int] = lambda: 0,
        cached: Callable[[], list[str]] = list,
        staged: Callable[[], list[Staged]] = list,
        models: Callable[[], list[str] | None] = lambda: None,
    ) -> None:
        self._node = node
        self._boot_id = boot_id
        self._agent_id = agent_id
        self.file_url = file_url
        self._folder = folder
        self._reporter = reporter
        self._gpu_look = gpu_look
        self._gpu_states = gpu_states
        self._held = held
        self._unknown = unknown
        self._jobs = jobs
        self._mark = mark
        self._left_out = left_out
        self._cached = cached
        self._staged = staged
        self._models = models
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=args, name=args[0].__name__, daemon=True)
            for args in ((self._beat, heartbeat_s), (self._sample, sample_s))
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(5)

    def _run(self, act: Callable[[], Report], every_s: float) -> None:
        due = time.monotonic()
        while not self._stopping.is_set():
            self._guarded(act)
            due = max(due + every_s, time.monotonic())
            self._stopping.wait(due - time.monotonic())

    def _guarded(self, act: Callable[[], Report]) -> None:
        try:
            self._reporter.volatile_offer(act())
        except Exception:
            # a card that fell off the bus must not make the whole node look dead
            log.exception("a reading failed")

    def _beat(self) -> Report:
        mark = self._mark()  # first: whatever takes time comes behind it
        disk = shutil.disk_usage(self._folder)
        body = Heartbeat(
            boot_id=self._boot_id,
            agent_version=nodeagent.__version__,
            held=self._held(),
            unknown=self._unknown(),
            file_url=self.file_url,
            agent_id=self._agent_id,
            mark=mark,
            dropped_lines=self._left_out(),
            disk_free_bytes=disk.free,
            disk_total_bytes=disk.total,
            cached=self._cached(),
            gpus=self._gpu_states(),
            staged=self._staged(),
            models=self._models(),
        )
        return Report(node=self._node, stream="heartbeat", body=body, at=time.time())

    def _sample(self) -> Report:
        body = Sample(host=host_sample(self._folder), gpus=self._gpu_look(), jobs=self._jobs())
        return Report(node=self._node, stream="sample", body=body, at=time.time())
