"""Readings of host and GPUs; NVML's library is replaced where this machine has no card."""

import os
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

    def read(index: int, *_kinds: int) -> object:
        if index:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
        return value

    return read


def memory(index: int, version: int = 1) -> SimpleNamespace:
    """The second card has an older driver, which counts its own memory as in use."""
    if index and version > 1:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)
    return SimpleNamespace(total=100, used=40)


# Two cards as NVML shows them; the second one tells nothing but its memory.
TWO_CARDS = SimpleNamespace(
    NVMLError=pynvml.NVMLError,
    NVML_ERROR_NOT_SUPPORTED=pynvml.NVML_ERROR_NOT_SUPPORTED,
    NVML_ERROR_UNINITIALIZED=pynvml.NVML_ERROR_UNINITIALIZED,
    NVML_TEMPERATURE_GPU=0,
    NVML_TEMPERATURE_THRESHOLD_SLOWDOWN=1,
    NVML_CLOCK_SM=1,
    NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1,
    NVML_VOLATILE_ECC=0,
    nvmlMemory_v2=2,
    nvmlInit=lambda: None,
    nvmlSystemGetDriverVersion=lambda: "580.1",
    nvmlDeviceGetCount=lambda: 2,
    nvmlDeviceGetHandleByIndex=lambda index: index,
    nvmlDeviceGetUUID=lambda index: f"GPU-{index}".encode(),  # older releases answer in bytes
    nvmlDeviceGetName=lambda _index: "H200",
    nvmlDeviceGetMemoryInfo=memory,
    nvmlDeviceGetMinorNumber=told_by_the_first(3),
    nvmlDeviceGetComputeRunningProcesses=told_by_the_first(
        [SimpleNamespace(pid=os.getpid(), usedGpuMemory=7)]
    ),
    nvmlDeviceGetGraphicsRunningProcesses=told_by_the_first(
        [
            SimpleNamespace(pid=os.getpid(), usedGpuMemory=7),
            SimpleNamespace(pid=1, usedGpuMemory=5),
        ]
    ),
    nvmlDeviceGetTemperatureThreshold=told_by_the_first(89),
    nvmlDeviceGetClockInfo=told_by_the_first(1_980),
    nvmlDeviceGetCurrentClocksThrottleReasons=told_by_the_first(0x1 | 0x4 | 0x40),
    nvmlDeviceGetTotalEccErrors=told_by_the_first(2),
    nvmlDeviceGetRemappedRows=told_by_the_first((0, 1, 1, 0)),
    nvmlDeviceGetHandleByUUID=lambda uuid: int(uuid[-1]),
    nvmlDeviceGetUtilizationRates=told_by_the_first(SimpleNamespace(gpu=92)),
    nvmlDeviceGetPowerUsage=told_by_the_first(300_500),
    nvmlDeviceGetTemperature=told_by_the_first(61),
)


def test_no_driver_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    probe = Nvml()
    assert (probe.gpus, probe.read(), probe.driver_version) == ([], [], "")


def test_cards_and_what_they_do_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "pynvml", TWO_CARDS)
    probe = Nvml()
    assert [(gpu.uuid, gpu.index, gpu.name) for gpu in probe.gpus] == [
        ("GPU-0", 0, "H200"),
        ("GPU-1", 1, "H200"),
    ]
    one, other = probe.read()
    first, second = one.sample, other.sample
    assert (first.utilization_percent, first.temperature_c, first.power_w) == (92.0, 61.0, 300.5)
    assert (first.memory_used_bytes, first.memory_total_bytes) == (40, 100)
    assert (second.utilization_percent, second.temperature_c, second.power_w) == (None, None, None)
    assert second.memory_used_bytes == 40
    assert (first.slowdown_c, first.clock_mhz, first.ecc_uncorrected) == (89.0, 1980.0, 2)
    assert first.slowed_by == ["sw_power_cap", "hw_thermal"]
    assert [(run.pid, run.memory_bytes) for run in one.processes or []] == [(os.getpid(), 7)]
    assert one.processes is not None
    assert one.processes[0].name == psutil.Process().name()
    assert (one.drawing_bytes, "at the next reset" in one.rows) == (5, True)
    assert (other.processes, other.rows, other.lost, second.slowdown_c) == (None, "", "", None)
    assert probe.minor("GPU-0") == 3
    with pytest.raises(LookupError, match="GPU-1"):
        probe.minor("GPU-1")


def test_a_card_that_fell_off_the_bus_says_so_and_may_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cards = SimpleNamespace(**vars(TWO_CARDS))
    monkeypatch.setattr(nvml, "pynvml", cards)
    probe = Nvml()

    def lost(_index: int) -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)

    cards.nvmlDeviceGetUtilizationRates = lost
    assert [(one.sample.uuid, one.lost) for one in probe.read()] == [
        ("GPU-0", "GPU is lost"),
        ("GPU-1", "GPU is lost"),
    ]
    cards.nvmlDeviceGetUtilizationRates = TWO_CARDS.nvmlDeviceGetUtilizationRates
    assert [one.lost for one in probe.read()] == ["", ""]


def test_a_card_that_does_not_answer_at_the_start_is_not_offered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def handle(index: int) -> int:
        if index:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        return index

    cards = SimpleNamespace(**{**vars(TWO_CARDS), "nvmlDeviceGetHandleByIndex": handle})
    monkeypatch.setattr(nvml, "pynvml", cards)
    probe = Nvml()
    assert [gpu.uuid for gpu in probe.gpus] == ["GPU-0"]
    assert probe.silent == ["GPU 1 does not answer: GPU is lost. It is not offered."]


def test_host(tmp_path: Path) -> None:
    sample = host_sample(tmp_path)
    assert sample.memory_total_bytes == psutil.virtual_memory().total
    assert 0 < sample.memory_used_bytes < sample.memory_total_bytes
    assert 0 < sample.disk_free_bytes <= sample.disk_total_bytes
    assert boot_id() == boot_id() != ""
