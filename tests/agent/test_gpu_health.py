"""What the agent makes of its GPUs: health, strangers, memory that is not free, the CUDA check."""

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodeagent.contract import gpus as kinds
from nodeagent.contract.commands import Start
from nodeagent.contract.gpus import GpuCheck, GpuMark
from nodeagent.contract.joining import Gpu
from nodeagent.contract.reports import GpuSample
from nodeagent.journal import Journal
from nodeagent.probes.gpus import GIB, GpuProcess, GpuReading, health_of, warn_at_c
from nodeagent.runtimes.process import ERRAND_MARKER, MARKER, ProcessRuntime
from nodeagent.supervisor import gpucheck, gpuwatch
from nodeagent.supervisor.admission import Refusal, devices_check
from nodeagent.supervisor.gpucheck import GpuChecks
from nodeagent.supervisor.gpuwatch import GpuWatch
from tests.agent.plane import wait_for

ONE, TWO = "GPU-1", "GPU-2"
OURS, THEIRS, UNSEEN = 100, 200, 300
REPOSITORY = Path(__file__).resolve().parents[2]


def reading(uuid: str = ONE, **changes: Any) -> GpuReading:
    """A card on which nothing runs."""
    names = GpuReading.__struct_fields__
    own = {key: value for key, value in changes.items() if key in names}
    sample = {key: value for key, value in changes.items() if key not in names}
    calm = {"memory_used_bytes": 0, "temperature_c": 40.0, "slowdown_c": 89.0, **sample}
    plain = {"processes": [], **own, "sample": {"uuid": uuid, **calm}}
    return msgspec.convert(plain, GpuReading)


def process(pid: int, gib: int = 3) -> GpuProcess:
    return GpuProcess(pid=pid, name="python", memory_bytes=gib * GIB)


class FakeProbe:
    """Two cards that are as a test says."""

    driver_version = "580.1"

    def __init__(self) -> None:
        self.now = {ONE: reading(ONE), TWO: reading(TWO)}

    @property
    def gpus(self) -> list[Gpu]:
        return [Gpu(uuid=uuid, index=place, name="H200", memory_bytes=141 * GIB)
                for place, uuid in enumerate(self.now)]  # fmt: skip

    def read(self) -> list[GpuReading]:
        return list(self.now.values())


def watch_of(probe: FakeProbe, *, held: set[str] | None = None) -> GpuWatch:
    watch = GpuWatch(probe=probe, owns=lambda pid: {OURS: True, UNSEEN: None}.get(pid, False))
    watch.held = lambda: held or set()
    return watch


def marks(watch: GpuWatch, uuid: str = ONE) -> list[tuple[str, bool]]:
    watch.look()
    found = {state.uuid: state.marks for state in watch.states()}
    return [(mark.kind, mark.blocks) for mark in found[uuid]]


@pytest.mark.parametrize(
    ("slowdown", "at"), [(None, 85.0), (89.0, 85.0), (95.0, 85.0), (84.0, 80.0)]
)
def test_warned_at_85_or_4_below_where_the_card_slows_down(
    slowdown: float | None, at: float
) -> None:
    assert warn_at_c(slowdown) == at


@pytest.mark.parametrize(
    ("changes", "kind", "blocks"),
    [
        ({"temperature_c": 85.0}, kinds.HOT, False),
        ({"temperature_c": 84.9}, None, False),
        ({"temperature_c": 81.0, "slowdown_c": 85.0}, kinds.HOT, False),
        ({"temperature_c": None, "slowdown_c": None}, None, False),
        ({"ecc_uncorrected": 2}, kinds.ECC, True),
        ({"ecc_uncorrected": 0}, None, False),
        ({"rows": "A broken memory row could not be replaced."}, kinds.ECC, True),
        ({"slowed_by": ["sw_power_cap"]}, None, False),
        ({"slowed_by": ["sw_power_cap", "hw_thermal"]}, kinds.SLOWED, False),
        ({"lost": "GPU is lost"}, kinds.LOST, True),
    ],
)
def test_health(changes: dict[str, Any], kind: str | None, blocks: bool) -> None:
    found = [(mark.kind, mark.blocks) for mark in health_of(reading(**changes))]
    assert found == ([(kind, blocks)] if kind else [])


def test_strangers_are_seen_beside_a_job_and_alone() -> None:
    probe = FakeProbe()
    foreign, dirty = [(kinds.FOREIGN, True)], [(kinds.DIRTY, True)]
    probe.now[ONE] = reading(processes=[process(OURS), process(UNSEEN)])
    assert marks(watch_of(probe, held={ONE})) == [], "what cannot be seen is taken for the job's"
    assert marks(watch_of(probe)) == foreign, "with no job on it, it is not"
    probe.now[ONE] = reading(processes=[process(THEIRS), process(OURS)])
    assert marks(watch_of(probe, held={ONE})) == foreign
    probe.now[ONE] = reading(processes=[process(OURS)])
    assert marks(watch_of(probe)) == dirty, "a job that has ended still holds it"
    watch = watch_of(probe)
    watch.look()
    assert [state.marks for state in watch.states() if state.uuid == TWO] == [[]]
    assert "python (pid 100, 3.0 GiB)" in watch.states()[0].marks[0].detail


def test_memory_that_nobody_seems_to_hold_is_not_free() -> None:
    probe = FakeProbe()
    probe.now[ONE] = reading(memory_used_bytes=GIB)
    assert marks(watch_of(probe)) == []
    probe.now[ONE] = reading(memory_used_bytes=3 * GIB)
    assert marks(watch_of(probe)) == [(kinds.DIRTY, True)]
    assert marks(watch_of(probe, held={ONE})) == []
    probe.now[ONE] = reading(memory_used_bytes=3 * GIB, drawing_bytes=2 * GIB)
    assert marks(watch_of(probe)) == [], "a desktop is no job"


def test_an_end_waits_until_its_gpus_are_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpuwatch, "FREE_LOOK_S", 0.001)
    probe = FakeProbe()
    probe.now[ONE] = reading(memory_used_bytes=9 * GIB)
    looks = iter([*[reading(memory_used_bytes=9 * GIB)] * 3, reading()])
    monkeypatch.setattr(probe, "read", lambda: [next(looks)])
    assert watch_of(probe).free_wait([ONE, "cpu-0"]) == {}
    assert list(looks) == []
    assert watch_of(probe).free_wait(["cpu-0"]) == {}, "a CPU slot is free at once"


def test_a_gpu_that_stays_dirty_is_kept_until_it_is_clean(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpuwatch, "FREE_PATIENCE_S", 0.0)
    probe = FakeProbe()
    probe.now[ONE] = reading(memory_used_bytes=9 * GIB)
    watch = watch_of(probe, held={ONE})  # its attempt is told as ended only after this
    assert "9.0 GiB" in watch.free_wait([ONE])[ONE]
    assert marks(watch) == [(kinds.DIRTY, True)]
    start = Start(id="s", instance=1, attempt=1, argv=[], devices=[ONE], spec_hash="x")
    with pytest.raises(Refusal) as refused:
        devices_check(start, offered={ONE}, others=[], dirty=watch.dirty())
    assert refused.value.reason == "device:dirty"
    probe.now[ONE] = reading()
    assert marks(watch) == []
    devices_check(start, offered={ONE}, others=[], dirty=watch.dirty())


def test_a_driver_that_hangs_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = watch_of(FakeProbe())
    assert marks(watch) == []
    monkeypatch.setattr(gpuwatch, "SILENT_S", 0.0)
    assert [mark.kind for mark in watch.states()[0].marks] == [kinds.LOST]


def test_whose_a_process_is(tmp_path: Path) -> None:
    import subprocess  # noqa: PLC0415 - only here

    runtime = runtime_of(tmp_path, Path(sys.executable))

    def alive(**env: str) -> "subprocess.Popen[bytes]":
        # the shell's child has an empty environment, as a program has that writes over its own
        script = (
            f"exec 3>&1; env -i {sys.executable} -c 'import time; time.sleep(60)' & echo $!; wait"
        )
        return subprocess.Popen(["/bin/sh", "-c", script], env=env, stdout=subprocess.PIPE)

    job = alive(**{MARKER: str(tmp_path / "jobs" / "1" / "a1")})
    check = alive(**{ERRAND_MARKER: str(tmp_path / "cache")})
    other = alive(**{MARKER: "/elsewhere/jobs/1/a1"})
    try:
        children = [int(one.stdout.readline()) for one in (job, check, other) if one.stdout]
        owned = [runtime.owns(one.pid) for one in (job, check, other)]
        assert owned == [True, True, False]
        assert [runtime.owns(child) for child in children] == [True, True, False]
    finally:
        for child in children:
            os.kill(child, 9)
        for one in (job, check, other):
            one.kill()
            one.communicate()
    wait_for(lambda: runtime.owns(children[0]) is None, what="its end")


# -- the CUDA check


def runtime_of(folder: Path, python: Path) -> ProcessRuntime:
    return ProcessRuntime(
        python=python,
        cache=folder / "cache",
        plugin_folder=REPOSITORY / "nodeagent" / "swift_plugin",
        base_env={"PATH": os.environ["PATH"]},
        hub_env={},
    )


@pytest.fixture
def checks_of(tmp_path: Path) -> Callable[..., GpuChecks]:
    def make(python: Path, *, setting: str = "boot-1", busy: bool = False) -> GpuChecks:
        return GpuChecks(
            runtime=runtime_of(tmp_path, python),
            journal=Journal(tmp_path / "journal.sqlite3"),
            folder=tmp_path / "checks",
            gpus=[ONE],
            setting=setting,
            is_busy=lambda _uuid: busy,
        )

    return make


def python_that(folder: Path, script: str) -> Path:
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


RIGHT = """echo noise; echo "{\\"ok\\": true, \\"torch\\": \\"2.13 $CUDA_VISIBLE_DEVICES\\", \\"tflops\\": 400.5}" """


def test_a_gpu_is_offered_once_it_has_computed_right(
    tmp_path: Path, checks_of: Callable[..., GpuChecks]
) -> None:
    python = python_that(tmp_path, RIGHT)
    checks = checks_of(python)
    assert [mark.kind for mark in checks.marks(ONE)] == [kinds.UNCHECKED]
    checks.start()
    wait_for(lambda: checks.result(ONE), what="the check")
    checks.stop()
    found = checks.result(ONE)
    assert found is not None
    assert (found.ok, found.torch, found.tflops) == (True, f"2.13 {ONE}", 400.5)
    assert checks.marks(ONE) == []
    assert list((tmp_path / "checks").iterdir()) == []
    python.unlink()
    assert checks_of(python).marks(ONE) == [], "not checked again in the same boot"
    assert checks_of(python, setting="boot-2").result(ONE) is None


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ('exec "%s" "$@"' % sys.executable, "No module named 'torch'"),  # noqa: UP031 - a shell's braces
        ("echo broken >&2; exit 3", "broken"),
        ("exit 3", "The check ended without a word."),
        ('echo \'{"ok": false, "detail": "A product of matrices is wrong by 1.0e-01."}\'', "wrong"),
    ],
)
def test_a_gpu_that_fails_is_not_offered_and_says_why(
    tmp_path: Path, checks_of: Callable[..., GpuChecks], script: str, detail: str
) -> None:
    checks = checks_of(python_that(tmp_path, script))
    checks.start()
    wait_for(lambda: checks.result(ONE), what="the check")
    checks.stop()
    (mark,) = checks.marks(ONE)
    assert (mark.kind, mark.blocks) == (kinds.CHECK_FAILED, True)
    assert detail in mark.detail
    again = checks_of(python_that(tmp_path, RIGHT))
    assert [mark.kind for mark in again.marks(ONE)] == [kinds.UNCHECKED], "a failure is tried again"


def test_no_check_beside_a_job_and_none_that_never_ends(
    tmp_path: Path, checks_of: Callable[..., GpuChecks], monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = checks_of(python_that(tmp_path, RIGHT), busy=True)
    assert not busy._is_due(ONE)
    monkeypatch.setattr(gpucheck, "PATIENCE_S", 0.3)
    monkeypatch.setattr(gpucheck, "ASK_EVERY_S", 0.01)
    slow = checks_of(python_that(tmp_path, "exec sleep 60"))
    began = time.monotonic()
    found = slow.check(ONE)
    assert (found.ok, found.detail) == (False, "No answer within 0 s.")
    assert time.monotonic() - began < 30
    missing = checks_of(tmp_path / "nothing").check(ONE)
    assert "No Python at" in missing.detail


def test_what_the_check_says_is_told_with_the_heartbeat(
    tmp_path: Path, checks_of: Callable[..., GpuChecks]
) -> None:
    watch = watch_of(FakeProbe())
    watch.checks = checks_of(tmp_path / "nothing")
    watch.checks._keep(ONE, GpuCheck(ok=False, detail="No Python"))
    watch.look()
    first, second = watch.states()
    assert first.marks == [GpuMark(kind=kinds.CHECK_FAILED, detail="No Python")]
    assert (first.check and first.check.detail, second.check) == ("No Python", None)
    assert [mark.kind for mark in second.marks] == [kinds.UNCHECKED]
    watch.checks.running = TWO  # its own process is no stranger
    watch._probe.now[TWO] = reading(TWO, processes=[process(UNSEEN)])  # type: ignore[attr-defined]
    watch.look()
    assert [mark.kind for mark in watch.states()[1].marks] == [kinds.UNCHECKED]


def test_a_sample_has_what_a_card_tells() -> None:
    sample = reading(slowed_by=["hw_thermal"], clock_mhz=1980.0).sample
    assert isinstance(sample, GpuSample)
    assert (sample.slowdown_c, sample.clock_mhz, sample.slowed_by) == (89.0, 1980.0, ["hw_thermal"])
