"""The GPUs of this node as they are now: their readings, who is on them, and which of them jobs may have."""

import logging
import threading
import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from nodeagent.contract import gpus as kinds
from nodeagent.contract.gpus import GpuMark, GpuState
from nodeagent.contract.reports import GpuSample
from nodeagent.probes.gpus import GpuProbe, GpuReading, Owns, dirt_of, health_of, use_of

if TYPE_CHECKING:
    from nodeagent.supervisor.gpucheck import GpuChecks

log = logging.getLogger(__name__)

SILENT_S = 30.0  # a driver that hangs answers nothing, not even an error
FREE_PATIENCE_S = 20.0  # the driver gives back the memory of a killed process in a second or two
FREE_LOOK_S = 0.2


class GpuWatch:
    """Looked through by the thread of the readings; all else may be called from any thread.

    owns: see `probes.gpus.Owns`. held: UUIDs that live attempts hold; checks: None = none are made. Both are
    set by who makes it, before `start`.
    """

    def __init__(self, *, probe: GpuProbe, owns: Owns) -> None:
        self.held: Callable[[], set[str]] = set
        self.checks: GpuChecks | None = None
        self._probe = probe
        self._owns = owns
        self._lock = threading.Lock()
        self._marks: dict[str, list[GpuMark]] = {}
        self._dirty: dict[str, str] = {}  # GPUs that an ended job has left so, until they are clean
        self._looked_at = time.monotonic()

    def start(self) -> None:
        """Look once, so that nothing is checked that is in use; then begin to check."""
        self.look()
        if self.checks is not None:
            self.checks.start()

    def stop(self) -> None:
        if self.checks is not None:
            self.checks.stop()

    def look(self) -> list[GpuSample]:
        """One look at every GPU."""
        readings = self._probe.read()
        with self._lock:
            self._looked_at = time.monotonic()
        held = self.held()
        marks = {
            reading.sample.uuid: [*health_of(reading), *self._use(reading, held)]
            for reading in readings
        }
        with self._lock:
            before, self._marks = self._marks, marks
        for uuid, found in marks.items():
            kinds_before = {mark.kind for mark in before.get(uuid, [])}
            for mark in found:
                if mark.kind not in kinds_before:
                    log.warning("%s: %s: %s", uuid, mark.kind, mark.detail)
        return [reading.sample for reading in readings]

    def _use(self, reading: GpuReading, held: set[str]) -> list[GpuMark]:
        uuid = reading.sample.uuid
        with self._lock:
            if uuid in self._dirty:
                dirt = dirt_of(reading, owns=self._owns)
                if dirt:
                    return [GpuMark(kind=kinds.DIRTY, detail=dirt)]
                del self._dirty[uuid]
        is_checked = self.checks is not None and self.checks.running == uuid
        return use_of(reading, is_held=uuid in held or is_checked, owns=self._owns)

    def dirty(self) -> dict[str, str]:
        """GPU -> why no job may have it, although none holds it."""
        with self._lock:
            return dict(self._dirty)

    def states(self) -> list[GpuState]:
        """What a heartbeat tells."""
        with self._lock:
            marks, silent_s = dict(self._marks), time.monotonic() - self._looked_at
        hung = []
        if silent_s >= SILENT_S:
            text = f"The driver has not answered for {silent_s:.0f} s."
            hung = [GpuMark(kind=kinds.LOST, detail=text)]
        return [
            GpuState(
                uuid=gpu.uuid,
                marks=[*marks.get(gpu.uuid, []), *hung, *self._checked(gpu.uuid)],
                check=self.checks.result(gpu.uuid) if self.checks else None,
            )
            for gpu in self._probe.gpus
        ]

    def _checked(self, uuid: str) -> list[GpuMark]:
        return self.checks.marks(uuid) if self.checks else []

    def is_busy(self, uuid: str) -> bool:
        """Whether a job holds it, or something else keeps it from being used."""
        with self._lock:
            marks = self._marks.get(uuid, [])
        return uuid in self.held() or any(mark.blocks for mark in marks)

    def free_wait(self, devices: Iterable[str]) -> dict[str, str]:
        """After a job's end: wait until its GPUs are free; GPU -> why it is not, for those that stay so."""
        mine = {gpu.uuid for gpu in self._probe.gpus}.intersection(devices)
        deadline = time.monotonic() + FREE_PATIENCE_S
        while mine:
            dirt = self._dirt(mine)
            if not dirt or time.monotonic() >= deadline:
                with self._lock:
                    self._dirty |= dirt
                return dirt
            time.sleep(FREE_LOOK_S)
        return {}

    def _dirt(self, mine: set[str]) -> dict[str, str]:
        found = {
            reading.sample.uuid: dirt_of(reading, owns=self._owns)
            for reading in self._probe.read()
            if reading.sample.uuid in mine
        }
        return {uuid: text for uuid, text in found.items() if text}
