"""What only a real NVIDIA GPU shows. Where there is none, `make test` leaves these out and lists them."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodeagent.probes.nvml import Nvml
from tests.agent.test_runtimes import Bench

pytestmark = pytest.mark.gpu

# The driver's own library, without a framework: which cards a process may use.
CARDS = """
import ctypes
cuda = ctypes.CDLL("libcuda.so.1")
count, uuid = ctypes.c_int(), (ctypes.c_ubyte * 16)()
if cuda.cuInit(0) == 0:
    assert cuda.cuDeviceGetCount(ctypes.byref(count)) == 0
for index in range(count.value):
    assert cuda.cuDeviceGetUuid(uuid, index) == 0
    text = bytes(uuid).hex()
    print("GPU-" + "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:])))
"""


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench("process", tmp_path)
    yield made
    made.close()


def smi(query: str) -> list[list[str]]:
    """What the driver's own program says of each card."""
    command = ["nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split(", ") for line in done.stdout.splitlines()]


def test_cards_are_those_that_the_driver_has() -> None:
    probe = Nvml()
    assert probe.driver_version == smi("driver_version")[0][0]
    seen = [[str(gpu.index), gpu.uuid, gpu.name] for gpu in probe.gpus]
    assert seen == smi("index,uuid,name") != []
    mib = [int(row[0]) for row in smi("memory.total")]
    assert [gpu.memory_bytes // 2**20 for gpu in probe.gpus] == mib


def test_each_card_tells_how_it_is() -> None:
    probe = Nvml()
    samples = [reading.sample for reading in probe.read()]
    assert [sample.uuid for sample in samples] == [gpu.uuid for gpu in probe.gpus] != []
    for sample in samples:
        assert sample.utilization_percent is not None
        assert 0 <= sample.utilization_percent <= 100
        assert sample.memory_used_bytes is not None
        assert sample.memory_total_bytes is not None
        assert 0 <= sample.memory_used_bytes <= sample.memory_total_bytes
        assert sample.temperature_c is not None
        assert 0 < sample.temperature_c < 120
        assert sample.power_w is None or 0 < sample.power_w < 2_000


def test_a_process_has_the_cards_of_its_job_and_no_other(bench: Bench) -> None:
    gpu = Nvml().gpus[-1]
    bench.start(CARDS, devices=[gpu.uuid])
    assert bench.ended(timeout_s=60).exit_code == 0, bench.console()
    assert bench.console().split() == [gpu.uuid]


def test_a_process_of_a_cpu_slot_has_no_card(bench: Bench) -> None:
    bench.start(CARDS, devices=["cpu-0"])
    assert bench.ended(timeout_s=60).exit_code == 0, bench.console()
    assert "GPU-" not in bench.console()
