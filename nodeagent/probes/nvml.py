"""GPUs by NVML. A machine without NVIDIA's driver has none, and that is no error."""

import contextlib
from collections.abc import Callable
from typing import Any

import pynvml

from nodeagent.contract.joining import Gpu
from nodeagent.contract.reports import GpuSample


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _reading(read: Callable[[], Any]) -> Any:
    """What the card tells, or None: cards differ in which readings they support."""
    with contextlib.suppress(pynvml.NVMLError):
        return read()
    return None


class Nvml:
    """A session with NVML; closed = no GPUs."""

    def __init__(self) -> None:
        self.driver_version = ""
        self._handles: list[tuple[Gpu, Any]] = []
        try:
            pynvml.nvmlInit()
        except pynvml.NVMLError:
            return
        self.driver_version = _text(_reading(pynvml.nvmlSystemGetDriverVersion) or "")
        for index in range(int(pynvml.nvmlDeviceGetCount())):
            handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            gpu = Gpu(
                uuid=_text(pynvml.nvmlDeviceGetUUID(handle)),
                index=index,
                name=_text(pynvml.nvmlDeviceGetName(handle)),
                memory_bytes=int(pynvml.nvmlDeviceGetMemoryInfo(handle).total),
            )
            self._handles.append((gpu, handle))

    @property
    def gpus(self) -> list[Gpu]:
        return [gpu for gpu, _handle in self._handles]

    def sample(self) -> list[GpuSample]:
        """One reading of every GPU."""
        return [self._sample(gpu, handle) for gpu, handle in self._handles]

    def _sample(self, gpu: Gpu, handle: Any) -> GpuSample:
        use = _reading(lambda: pynvml.nvmlDeviceGetUtilizationRates(handle))
        memory = _reading(lambda: pynvml.nvmlDeviceGetMemoryInfo(handle))
        power_mw = _reading(lambda: pynvml.nvmlDeviceGetPowerUsage(handle))
        heat = _reading(
            lambda: pynvml.nvmlDeviceGetTemperature(handle, pynvml.NVML_TEMPERATURE_GPU)
        )
        return GpuSample(
            uuid=gpu.uuid,
            utilization_percent=None if use is None else float(use.gpu),
            memory_used_bytes=None if memory is None else int(memory.used),
            memory_total_bytes=None if memory is None else int(memory.total),
            temperature_c=None if heat is None else float(heat),
            power_w=None if power_mw is None else power_mw / 1000,
        )
