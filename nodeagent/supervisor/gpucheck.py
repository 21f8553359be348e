"""The CUDA check: before a GPU is offered, a short computation on it in the training environment itself.

NVML may call a card fine on which no training could start: a driver too old for the image, a container
that gets no device, a card that computes wrong.
"""

import logging
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from nodeagent.contract import gpus as kinds
from nodeagent.contract import paths
from nodeagent.contract.gpus import GpuCheck, GpuMark
from nodeagent.contract.joining import Gpu
from nodeagent.contract.reading import UNREADABLE
from nodeagent.journal import Journal
from nodeagent.runtimes.base import Errand, Runtime, RuntimeAway, RuntimeFault
from nodeagent.runtimes.ownership import folder_give
from nodeagent.workspace import UnsafePath, read_small

log = logging.getLogger(__name__)

PROGRAM = f"{paths.PLUGIN}/cuda_check.py"
META = "gpu_checks"
LOOK_EVERY_S = 2.0
ASK_EVERY_S = 0.2
PATIENCE_S = 180.0  # a cold disk, torch, the driver's first context
AGAIN_S = 300.0  # a card that failed may have been mended
DETAIL_LENGTH = 300


class _Kept(msgspec.Struct):
    """What is remembered between lives of the agent. setting: what the checks were made in."""

    setting: str = ""
    checks: dict[str, GpuCheck] = {}


def unchecked(gpu: Gpu) -> Gpu:
    """As it is told at joining: whether it was checked before, the first heartbeat says."""
    return msgspec.structs.replace(gpu, marks=[GpuMark(kind=kinds.UNCHECKED)])


def _say_nothing(*, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None:
    pass


class GpuChecks:
    """A thread that checks one GPU after the other, while no job holds it; `close` ends it.

    setting: names boot, driver and training environment; what passed in it once is not checked again.
    is_busy: whether a job, or somebody else, is on the GPU.
    """

    def __init__(
        self,
        *,
        runtime: Runtime,
        journal: Journal,
        folder: Path,
        gpus: list[str],
        setting: str,
        is_busy: Callable[[str], bool],
    ) -> None:
        self._runtime = runtime
        self._journal = journal
        self._folder = folder
        self._gpus = gpus
        self._is_busy = is_busy
        self._kept = self._remembered(setting)
        self._again_at: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="cuda check", daemon=True)
        self.running = ""  # the GPU that is being checked

    def start(self) -> None:
        if self._gpus:
            self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(5)

    # -- what is known

    def result(self, uuid: str) -> GpuCheck | None:
        """The newest, None when there is none yet."""
        return self._kept.checks.get(uuid)

    def marks(self, uuid: str) -> list[GpuMark]:
        """Nothing for a GPU that passed."""
        known = self.result(uuid)
        if known is None:
            return [GpuMark(kind=kinds.UNCHECKED)]
        return [] if known.ok else [GpuMark(kind=kinds.CHECK_FAILED, detail=known.detail)]

    def _remembered(self, setting: str) -> _Kept:
        try:
            kept = msgspec.json.decode(self._journal.meta_get(META), type=_Kept)
        except UNREADABLE:  # there was none yet
            kept = _Kept()
        if kept.setting != setting:
            return _Kept(setting=setting)
        return _Kept(setting, {uuid: one for uuid, one in kept.checks.items() if one.ok})

    # -- checking

    def _run(self) -> None:
        while not self._stopping.is_set():
            for uuid in self._gpus:
                if self._stopping.is_set() or not self._is_due(uuid):
                    continue
                try:
                    self._keep(uuid, self.check(uuid))
                except Exception:  # whatever it is, the next GPU may be fine
                    log.exception("%s: the CUDA check could not be made", uuid)
                    self._again_at[uuid] = time.monotonic() + AGAIN_S
            self._stopping.wait(LOOK_EVERY_S)

    def _is_due(self, uuid: str) -> bool:
        known = self.result(uuid)
        if (known is not None and known.ok) or self._again_at.get(uuid, 0.0) > time.monotonic():
            return False
        return not self._is_busy(uuid)

    def _keep(self, uuid: str, check: GpuCheck) -> None:
        if self._stopping.is_set():
            return  # cut short, so it says nothing
        say = log.info if check.ok else log.warning
        say("%s: CUDA check: %s", uuid, check.detail or f"right, {check.tflops} TFLOP/s")
        if not check.ok:
            self._again_at[uuid] = time.monotonic() + AGAIN_S
        self._kept = _Kept(self._kept.setting, {**self._kept.checks, uuid: check})
        self._journal.meta_set(META, msgspec.json.encode(self._kept).decode())

    def check(self, uuid: str) -> GpuCheck:
        """One check, now; takes as long as the image's pull and the computation."""
        self.running = uuid
        try:
            self._runtime.prepare("", say=_say_nothing, cancelled=self._stopping.is_set)
            return self._computed(uuid)
        except (RuntimeFault, RuntimeAway) as fault:
            return _failed(str(fault))
        finally:
            self.running = ""

    def _computed(self, uuid: str) -> GpuCheck:
        name = f"lf-check-{secrets.token_hex(6)}"
        place = self._folder / name
        (place / "run" / "tmp").mkdir(parents=True)
        self._give(place)
        try:
            self._runtime.errand_start(
                Errand(name=name, folder=place, argv=[PROGRAM], devices=[uuid])
            )
            in_time = self._wait(name)
            self._runtime.errand_end(name)
            return _read(place) if in_time else _failed(f"No answer within {PATIENCE_S:.0f} s.")
        finally:
            self._runtime.errand_end(name)
            shutil.rmtree(place, ignore_errors=True)

    def _wait(self, name: str) -> bool:
        deadline = time.monotonic() + PATIENCE_S
        while self._runtime.errand_runs(name):
            if time.monotonic() >= deadline or self._stopping.is_set():
                return False
            time.sleep(ASK_EVERY_S)
        return True

    def _give(self, place: Path) -> None:
        user = self._runtime.job_user
        if user is None:
            return
        if os.geteuid() == 0:
            os.chown(place, *user)
        folder_give(place / "run", uid=user[0], gid=user[1])


def _failed(detail: str) -> GpuCheck:
    return GpuCheck(ok=False, detail=detail[:DETAIL_LENGTH], at=time.time())


def _read(place: Path) -> GpuCheck:
    """What the program said last; anything else is its last words, and a failure."""
    try:
        lines = read_small(place, "run/log.txt").decode(errors="replace").split("\n")
    except (FileNotFoundError, UnsafePath):
        lines = []
    said = [line.strip() for line in lines if line.strip()]
    for line in reversed(said):
        try:
            check = msgspec.json.decode(line, type=GpuCheck)
        except UNREADABLE:
            continue
        text = check.detail[:DETAIL_LENGTH]
        return msgspec.structs.replace(check, detail=text, torch=check.torch[:40], at=time.time())
    return _failed(said[-1] if said else "The check ended without a word.")
