"""Readings of host and GPUs; NVML's library is replaced where this machine has no card."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from nodeagent.probes import nvml
from nodeagent.probes.host import boot_id, host_sample
from nodeagent.probes.nvml import Nvml


class FakeNvml:
    """Two cards as NVML shows them; the second one tells nothing but its memory."""

    NVMLError = pynvml.NVMLError
    NVML_TEMPERATURE_GPU = 0

    def nvmlInit(self) -> None:
        """There is a driver."""

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetUUID(self, index: int) -> bytes:
        return f"GPU-{index}".encode()  # older releases answer in bytes

    def nvmlDeviceGetName(self, _index: int) -> str:
        return "H200"

    def nvmlDeviceGetMemoryInfo(self, _index: int) -> SimpleNamespace:
        return SimpleNamespace(total=100, used=40)

    def _told(self, index: int, value: object) -> object:
        if index:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    def nvmlDeviceGetUtilizationRates(self, index: int) -> object:
        return self._told(index, SimpleNamespace(gpu=92))

    def nvmlDeviceGetPowerUsage(self, index: int) -> object:
        return self._told(index, 300_500)

    def nvmlDeviceGetTemperature(self, index: int, _kind: int) -> object:
        return self._told(index, 61)


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    probe = Nvml()
    assert (probe.gpus, probe.sample(), probe.driver_version) == ([], [], "")


def test_cards_and_what_they_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "pynvml", FakeNvml())
    probe = Nvml()
    assert [(gpu.uuid, gpu.index, gpu.name) for gpu in probe.gpus] == [
        ("GPU-0", 0, "H200"),
        ("GPU-1", 1, "H200"),
    ]
    first, second = probe.sample()
    assert (first.utilization_percent, first.temperature_c, first.power_w) == (92.0, 61.0, 300.5)
    assert (first.memory_used_bytes, first.memory_total_bytes) == (40, 100)
    assert (second.utilization_percent, second.temperature_c, second.power_w) == (None, None, None)
    assert second.memory_used_bytes == 40


def test_host(tmp_path: Path) -> None:
    sample = host_sample(tmp_path)
    assert sample.memory_total_bytes == psutil.virtual_memory().total
    assert 0 < sample.memory_used_bytes < sample.memory_total_bytes
    assert 0 < sample.disk_free_bytes <= sample.disk_total_bytes
    assert boot_id() == boot_id() != ""
