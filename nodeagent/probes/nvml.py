"""GPUs by NVML. A machine without NVIDIA's driver has none, and that is no error."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import psutil
import pynvml

from nodeagent.contract.joining import Gpu
from nodeagent.contract.reports import GpuSample
from nodeagent.probes.gpus import GpuProcess, GpuReading

log = logging.getLogger(__name__)

NAME_LENGTH = 60

# The card or its driver is gone; all other errors only say that a card does not tell this or that.
_GONE = frozenset(
    {
        pynvml.NVML_ERROR_UNINITIALIZED,
        pynvml.NVML_ERROR_DRIVER_NOT_LOADED,
        pynvml.NVML_ERROR_GPU_IS_LOST,
        pynvml.NVML_ERROR_RESET_REQUIRED,
        pynvml.NVML_ERROR_IRQ_ISSUE,
        pynvml.NVML_ERROR_GPU_NOT_FOUND,
    }
)

# Bits of nvmlDeviceGetCurrentClocksEventReasons (nvml.h); idle (0x1) keeps nothing down.
_SLOWED_BY = {
    0x2: "application_setting",
    0x4: "sw_power_cap",
    0x8: "hw_slowdown",
    0x10: "sync_boost",
    0x20: "sw_thermal",
    0x40: "hw_thermal",
    0x80: "hw_power_brake",
    0x100: "display_setting",
}


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _reading(read: Callable[[], Any]) -> Any:
    """What the card tells, or None: cards differ in which readings they support. Raises when it is gone."""
    try:
        return read()
    except pynvml.NVMLError as error:
        if error.value in _GONE:
            raise
        return None


def _memory(handle: Any) -> Any:
    """Every card tells it, so whatever keeps it from that is a sick card or driver: raises then."""
    # The second version does not count what the driver keeps for itself as in use.
    newer = _reading(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle, version=pynvml.nvmlMemory_v2))
    if newer is not None:
        return newer
    try:
        return pynvml.nvmlDeviceGetMemoryInfo(handle)
    except pynvml.NVMLError as error:
        if error.value == pynvml.NVML_ERROR_NOT_SUPPORTED:
            return None
        raise


def _processes(handle: Any) -> list[GpuProcess] | None:
    found = _reading(lambda: pynvml.nvmlDeviceGetComputeRunningProcesses(handle))
    if found is None:
        return None
    return [
        GpuProcess(pid=one.pid, name=_name_of(one.pid), memory_bytes=one.usedGpuMemory)
        for one in found
    ]


def _name_of(pid: int) -> str:
    """As people know it; a process of another user may hide the rest."""
    try:
        name = psutil.Process(pid).name()
    except psutil.Error:
        return ""
    return "".join(one if one.isprintable() else "?" for one in name)[:NAME_LENGTH]


def _drawing_bytes(handle: Any, computing: list[GpuProcess] | None) -> int:
    """Some processes draw and compute; their memory counts as that of computing."""
    known = {process.pid for process in computing or []}
    found = _reading(lambda: pynvml.nvmlDeviceGetGraphicsRunningProcesses(handle)) or []
    return sum(one.usedGpuMemory or 0 for one in found if one.pid not in known)


def _rows(handle: Any) -> str:
    rows = _reading(lambda: pynvml.nvmlDeviceGetRemappedRows(handle))
    if rows is None:
        return ""
    _corrected, _uncorrected, is_pending, has_failed = rows
    if has_failed:
        return "A broken memory row could not be replaced; the card needs service."
    return "A broken memory row is replaced at the next reset of the card." if is_pending else ""


def _sample(uuid: str, handle: Any) -> GpuSample:
    use = _reading(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
    memory = _memory(handle)
    power_mw = _reading(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
    heat = _reading(lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU))
    slowdown = _reading(
        lambda: pynvml.nvmlDeviceGetTemperatureThreshold(
            handle, pynvml.NVML_TEMPERATURE_THRESHOLD_SLOWDOWN
        )
    )
    clock = _reading(lambda: pynvml.nvmlDeviceGetClockInfo(handle, pynvml.NVML_CLOCK_SM))
    bits = _reading(lambda: pynvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)) or 0
    return GpuSample(
        uuid=uuid,
        utilization_percent=None if use is None else float(use.gpu),
        memory_used_bytes=None if memory is None else int(memory.used),
        memory_total_bytes=None if memory is None else int(memory.total),
        temperature_c=None if heat is None else float(heat),
        power_w=None if power_mw is None else power_mw / 1000,
        slowdown_c=float(slowdown) if slowdown else None,
        clock_mhz=None if clock is None else float(clock),
        slowed_by=[name for bit, name in _SLOWED_BY.items() if bits & bit],
        ecc_uncorrected=_reading(
            lambda: pynvml.nvmlDeviceGetTotalEccErrors(
                handle, pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, pynvml.NVML_VOLATILE_ECC
            )
        ),
    )


class Nvml:
    """Implements `nodeagent.probes.gpus.GpuProbe` by a session with NVML; closed = no GPUs.

    silent: what the driver says of cards that it counts, but that do not answer; one line each.
    """

    def __init__(self) -> None:
        self.driver_version = ""
        self.silent: list[str] = []
        self._lock = threading.Lock()
        self._found: list[tuple[Gpu, Any]] = []
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return
        self.driver_version = _text(_reading(pynvml.nvmlSystemGetDriverVersion) or "")
        for index in range(int(pynvml.nvmlDeviceGetCount())):
            try:
                self._found.append(self._open(index))
            except pynvml.NVMLError as error:
                self.silent.append(f"GPU {index} does not answer: {error}. It is not offered.")

    @staticmethod
    def _open(index: int) -> tuple[Gpu, Any]:
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
        gpu = Gpu(
            uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
            index=index,
            name=_text(pynvml.nvmlDeviceGetName(handle)),
            memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
        )
        return gpu, handle

    @property
    def gpus(self) -> list[Gpu]:
        return [gpu for gpu, _handle in self._found]

    def minor(self, uuid: str) -> int:
        """The number of its device node, which is not its index. Raises LookupError."""
        handle = next(handle for gpu, handle in self._found if gpu.uuid == uuid)
        number = _reading(lambda: pynvml.nvmlDeviceGetMinorNumber(handle))
        if number is None:
            message = f"{uuid} does not tell the number of its device node"
            raise LookupError(message)
        return int(number)

    def read(self) -> list[GpuReading]:
        """One look at every GPU."""
        with self._lock:
            return [self._read(place) for place in range(len(self._found))]

    def _read(self, place: int) -> GpuReading:
        gpu, handle = self._found[place]
        try:
            processes = _processes(handle)
            return GpuReading(
                sample=_sample(gpu.uuid, handle),
                processes=processes,
                drawing_bytes=_drawing_bytes(handle, processes),
                rows=_rows(handle),
            )
        except pynvml.NVMLError as error:
            self._reopen(place)
            return GpuReading(sample=GpuSample(uuid=gpu.uuid), lost=str(error))

    def _reopen(self, place: int) -> None:
        """After a reset, or another driver, the card is there again under a new handle."""
        gpu, _handle = self._found[place]
        try:
            if self._is_closed():
                pynvml.nvmlInit()
            self._found[place] = (gpu, pynvml.nvmlDeviceGetHandleByUUID(gpu.uuid))
        except pynvml.NVMLError as error:
            log.debug("%s: %s", gpu.uuid, error)  # the reading says it already

    @staticmethod
    def _is_closed() -> bool:
        try:
            pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            return bool(error.value == pynvml.NVML_ERROR_UNINITIALIZED)
        return False
