"""Readings of host and GPUs; NVML's library is replaced where this machine has no card."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pynvml
import pytest

from nodeagent.probes import nvml
from nodeagent.probes.host import boot_id, host_sample
from nodeagent.probes.nvml import Nvml


def told_by_the_first(value: object) -> Callable[..., object]:
    """A reading that the second card does not support."""

    def read(index: int, _kind: int = 0) -> object:
        if index:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    return read


# Two cards as NVML shows them; the second one tells nothing but its memory.
TWO_CARDS = SimpleNamespace(
    NVMLError=pynvml.NVMLError,
    NVML_TEMPERATURE_GPU=0,
    nvmlInit=lambda: None,
    nvmlSystemGetDriverVersion=lambda: "580.1",
    nvmlDeviceGetCount=lambda: 2,
    nvmlDeviceGetHandleByIndex=lambda index: index,
    nvmlDeviceGetUUID=lambda index: f"GPU-{index}".encode(),  # older releases answer in bytes
    nvmlDeviceGetName=lambda _index: "H200",
    nvmlDeviceGetMemoryInfo=lambda _index: SimpleNamespace(total=100, used=40),
    nvmlDeviceGetUtilizationRates=told_by_the_first(SimpleNamespace(gpu=92)),
    nvmlDeviceGetPowerUsage=told_by_the_first(300_500),
    nvmlDeviceGetTemperature=told_by_the_first(61),
)


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    probe = Nvml()
    assert (probe.gpus, probe.sample(), probe.driver_version) == ([], [], "")


def test_cards_and_what_they_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "pynvml", TWO_CARDS)
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
