"""The port to the GPUs of this machine, and what one look at a GPU tells. `nvml` is the real one."""

from collections.abc import Callable
from typing import Protocol

import msgspec

from nodeagent.contract import gpus as kinds
from nodeagent.contract.gpus import GpuMark
from nodeagent.contract.joining import Gpu
from nodeagent.contract.reports import GpuSample

GIB = 1024**3
HOT_C = 85.0
BELOW_SLOWDOWN_C = 4.0
# What the driver and whoever looks at the card may hold without anything running there.
CALM_BYTES = 1 * GIB
PROTECTING = frozenset({"hw_slowdown", "hw_thermal", "hw_power_brake", "sw_thermal"})


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A process that computes on a GPU; memory None = the driver does not tell."""

    pid: int
    name: str = ""
    memory_bytes: int | None = None

    def __str__(self) -> str:
        held = "" if self.memory_bytes is None else f", {self.memory_bytes / GIB:.1f} GiB"
        return f"{self.name or '?'} (pid {self.pid}{held})"


class GpuReading(msgspec.Struct, frozen=True, kw_only=True):
    """One look at one GPU.

    lost: the driver's words when it does not reach the card, else empty. processes: that compute on it,
    None = the driver does not tell. drawing_bytes: held by processes that only draw. rows: what is wrong
    with its spare memory rows, else empty.
    """

    sample: GpuSample
    lost: str = ""
    processes: list[GpuProcess] | None = None
    drawing_bytes: int = 0
    rows: str = ""

    @property
    def excess_bytes(self) -> int:
        """Memory in use beyond what nobody minds."""
        used = self.sample.memory_used_bytes or 0
        return max(0, used - CALM_BYTES - self.drawing_bytes)


class GpuProbe(Protocol):
    """Whatever reads the GPUs. Thread-safe."""

    driver_version: str

    @property
    def gpus(self) -> list[Gpu]:
        """Those that were there at the agent's start."""
        ...

    def read(self) -> list[GpuReading]:
        """One look at each of them, in that order."""
        ...


# Whether a process belongs to a job, or a check, of this agent; None = it cannot be seen from here.
Owns = Callable[[int], bool | None]


def foreign_of(reading: GpuReading, *, is_held: bool, owns: Owns) -> list[GpuProcess]:
    """Processes that are none of ours. One that cannot be seen from here is ours if a job holds the GPU."""
    found = []
    for process in reading.processes or []:
        ours = owns(process.pid)
        if ours is False or (ours is None and not is_held):
            found.append(process)
    return found


def dirt_of(reading: GpuReading, *, owns: Owns) -> str:
    """Why a GPU that no job holds is not free yet, though nobody else uses it; empty when it is free."""
    if reading.lost or any(owns(process.pid) is False for process in reading.processes or []):
        return ""
    left = [str(process) for process in reading.processes or []]
    if left:
        return f"A process of an ended job is still on it: {', '.join(left)}."
    if reading.excess_bytes:
        used = (reading.sample.memory_used_bytes or 0) / GIB
        return f"{used:.1f} GiB of its memory are not free, and no process is seen that holds them."
    return ""


def warn_at_c(slowdown_c: float | None) -> float:
    """The temperature from which on a card is called hot."""
    return HOT_C if slowdown_c is None else min(HOT_C, slowdown_c - BELOW_SLOWDOWN_C)


def health_of(reading: GpuReading) -> list[GpuMark]:
    """What is wrong with the card itself."""
    if reading.lost:
        return [GpuMark(kind=kinds.LOST, detail=reading.lost)]
    found, sample = [], reading.sample
    if sample.ecc_uncorrected:
        text = f"ECC: {sample.ecc_uncorrected}"  # uncorrected, since the driver was loaded
        found.append(GpuMark(kind=kinds.ECC, detail=text))
    if reading.rows:
        found.append(GpuMark(kind=kinds.ECC, detail=reading.rows))
    heat, limit = sample.temperature_c, warn_at_c(sample.slowdown_c)
    if heat is not None and heat >= limit:
        text = f"{heat:.0f} °C ≥ {limit:.0f} °C"
        found.append(GpuMark(kind=kinds.HOT, detail=text, blocks=False))
    slowed = sorted(PROTECTING.intersection(sample.slowed_by))
    if slowed:
        found.append(GpuMark(kind=kinds.SLOWED, detail=", ".join(slowed), blocks=False))
    return found


def use_of(reading: GpuReading, *, is_held: bool, owns: Owns) -> list[GpuMark]:
    """Who else is on it, and whether what an ended job held is free."""
    foreign = foreign_of(reading, is_held=is_held, owns=owns)
    if foreign:
        text = ", ".join(str(process) for process in foreign)
        return [GpuMark(kind=kinds.FOREIGN, detail=text)]
    dirt = "" if is_held else dirt_of(reading, owns=owns)
    return [GpuMark(kind=kinds.DIRTY, detail=dirt)] if dirt else []
