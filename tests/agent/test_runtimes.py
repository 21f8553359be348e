"""What every runtime must do, as one suite; a runtime joins by one line in RUNTIMES."""

import functools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from nodeagent.journal import Handle
from nodeagent.runtimes.base import Launch, Runtime, RuntimeFault, Signal, State
from nodeagent.runtimes.paths import real_paths
from nodeagent.runtimes.process import MARKER, ProcessRuntime, process_started
from nodeagent.workspace import JobFolder, Workspace
from tests.agent.plane import wait_for


def process_runtime(tmp_path: Path) -> ProcessRuntime:
    return ProcessRuntime(
        python=Path(sys.executable),
        cache=tmp_path / "cache",
        plugin_folder=tmp_path / "plugin",
        base_env={"PATH": os.environ["PATH"]},
    )


RUNTIMES: dict[str, Callable[[Path], Runtime]] = {"process": process_runtime}


class Bench:
    """A runtime with a job folder, and the means to start scripts in it."""

    def __init__(self, make: Callable[[Path], Runtime], tmp_path: Path) -> None:
        self._make: Callable[[], Runtime] = functools.partial(make, tmp_path)
        self.runtime = self._make()
        self.folder: JobFolder = Workspace(tmp_path / "node").job(1, 1)
        self.folder.create()
        self.handle: Handle | None = None

    def restart(self) -> None:
        """As after a restart of the agent."""
        self.runtime = self._make()

    def start(self, script: str, *more: str, **facts: Any) -> Handle:
        given: dict[str, Any] = {
            "env": {},
            "devices": ["cpu-0"],
            "mounts": {},
            **facts,
        }
        self.handle = self.runtime.start(
            Launch(name="lf-1-a1", folder=self.folder, argv=["-c", script, *more], **given)
        )
        return self.handle

    def state(self) -> State:
        assert self.handle is not None
        return self.runtime.state(self.handle, self.folder)

    def ended(self) -> State:
        state: State = wait_for(lambda: None if (now := self.state()).running else now)
        return state

    def console(self) -> str:
        return (self.folder.path / "console.log").read_text()

    def signal(self, signal: Signal) -> None:
        assert self.handle is not None
        self.runtime.signal(self.handle, self.folder, signal)


@pytest.fixture(params=RUNTIMES)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(RUNTIMES[request.param], tmp_path)
    yield bench
    if bench.handle is not None:
        bench.runtime.clean(bench.handle, bench.folder)
        wait_for(lambda: not bench.state().running)


def test_output_and_exit_code(bench: Bench) -> None:
    bench.start("import sys;print('out');print('err',file=sys.stderr);sys.exit(7)")
    state = bench.ended()
    assert (state.exit_code, state.killed_by, state.reason) == (7, None, "")
    assert bench.console().split() == ["out", "err"]


def test_starting_twice_makes_one(bench: Bench) -> None:
    script = "import time;print('once',flush=True);time.sleep(30)"
    first = bench.start(script)
    bench.restart()
    second = bench.start(script)
    assert (first.pid, first.trainer_pid) == (second.pid, second.trainer_pid)
    wait_for(bench.console)
    assert bench.console() == "once\n"


def test_found_again_after_a_restart(bench: Bench) -> None:
    first = bench.start("import time;time.sleep(30)")
    bench.restart()
    assert bench.runtime.find("lf-1-a1", bench.folder) == first
    assert bench.state().running
    bench.signal(Signal.KILL)
    assert bench.ended().killed_by == 9


def test_nothing_is_found_where_nothing_was_started(bench: Bench) -> None:
    assert bench.runtime.find("lf-1-a1", bench.folder) is None


def test_found_after_its_end_with_the_exit_code(bench: Bench) -> None:
    bench.start("raise SystemExit(5)")
    bench.ended()
    bench.restart()
    bench.handle = bench.runtime.find("lf-1-a1", bench.folder)
    assert bench.ended().exit_code == 5


def test_term_reaches_the_trainer_alone(bench: Bench) -> None:
    bench.start(
        "import signal,subprocess,sys,time\n"
        "child=subprocess.Popen([sys.executable,'-c','import time;time.sleep(30)'])\n"
        "def term(*_):\n"
        "  print('child lives', child.poll() is None, flush=True); child.kill(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, term)\n"
        "print('ready',flush=True)\n"
        "while True: time.sleep(0.01)"
    )
    wait_for(bench.console)
    bench.signal(Signal.TERM)
    assert bench.ended().exit_code == 75
    assert "child lives True" in bench.console()


def test_usage(bench: Bench) -> None:
    handle = bench.start("while True: pass")

    def busy() -> bool:
        usage = bench.runtime.usage(handle)
        return usage is not None and usage.cpu_percent > 20 and usage.memory_bytes > 10**6

    wait_for(busy)
    bench.signal(Signal.KILL)
    bench.ended()
    assert bench.runtime.usage(handle) is None


def test_clean_leaves_nothing(bench: Bench) -> None:
    handle = bench.start(
        "import subprocess,sys\n"
        "subprocess.Popen([sys.executable,'-c','import time;time.sleep(60)'],start_new_session=True)"
    )
    assert bench.ended().exit_code == 0
    marker = f"{MARKER}={bench.folder.path}".encode()

    def left() -> list[int]:
        found = []
        for pid in psutil.pids():
            try:
                environ = Path(f"/proc/{pid}/environ").read_bytes()
            except OSError:
                continue
            if marker in environ.split(b"\0") and process_started(pid):
                found.append(pid)
        return found

    assert left()
    bench.runtime.clean(handle, bench.folder)
    wait_for(lambda: not left())


def test_paths_and_environment(bench: Bench, tmp_path: Path) -> None:
    script = "import json,os,sys;print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    bench.start(
        script,
        "/lf/job/output",
        "/lf/model/sub",
        "/lf/inputs/d.jsonl#500",
        "text /lf/model",
        "/lf/modelling",
        json.dumps({"a": ["/lf/model", "see /lf/model"]}),
        mounts={"/lf/model": tmp_path / "base"},
        env={"CB_CONTROL_DIR": "/lf/job/control"},
        devices=["GPU-a", "GPU-b"],
    )
    bench.ended()
    argv, environ = json.loads(bench.console())
    folder = bench.folder.path
    assert argv == [
        str(folder / "output"),
        str(tmp_path / "base/sub"),
        str(folder / "inputs/d.jsonl") + "#500",
        "text /lf/model",
        "/lf/modelling",
        json.dumps({"a": [str(tmp_path / "base"), "see /lf/model"]}),
    ]
    assert environ["CB_CONTROL_DIR"] == str(folder / "control")
    assert environ["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"


# -- the process runtime's own


def test_a_reused_pid_is_not_mistaken(tmp_path: Path) -> None:
    bench = Bench(process_runtime, tmp_path)
    other = Handle(name="lf-1-a1", pid=os.getpid(), started=process_started(os.getpid()) - 1)
    state = bench.runtime.state(other, bench.folder)
    assert (state.running, state.exit_code, state.reason) == (False, None, "process:exit_unknown")
    bench.runtime.signal(other, bench.folder, Signal.TERM)  # would end this test run


def test_pids_of_another_are_not_believed(tmp_path: Path) -> None:
    bench = Bench(process_runtime, tmp_path)
    (bench.folder.run / "pids").write_text(f"{os.getpid()} {os.getpid()}")
    handle = bench.runtime.find("lf-1-a1", bench.folder)
    assert handle is not None
    assert not bench.runtime.state(handle, bench.folder).running


def test_a_zombie_has_ended() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    try:
        deadline = time.monotonic() + 5
        while psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < deadline
        assert process_started(pid) == 0
    finally:
        os.waitpid(pid, 0)


def test_python_that_is_not_there(tmp_path: Path) -> None:
    bench = Bench(process_runtime, tmp_path)
    bench.runtime._python = tmp_path / "none"  # type: ignore[attr-defined]
    with pytest.raises(RuntimeFault) as fault:
        bench.start("pass")
    assert fault.value.reason == "runtime:python_missing"


def test_several_processes_go_through_torchrun(tmp_path: Path) -> None:
    runtime = process_runtime(tmp_path)
    folder = Workspace(tmp_path / "node").job(1, 1)
    launch = Launch(
        name="lf-1-a1",
        folder=folder,
        argv=["-m", "swift.cli.sft", "--output_dir", "/lf/job/output"],
        env={},
        devices=["GPU-a", "GPU-b"],
        mounts={},
        processes=2,
    )
    argv = runtime._argv(launch)
    assert argv[:5] == ["-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port"]
    assert argv[6:] == ["-m", "swift.cli.sft", "--output_dir", str(folder.output)]
    assert runtime._environment(launch)["NPROC_PER_NODE"] == "2"


@pytest.mark.parametrize(
    ("value", "real"),
    [
        ("/lf/model", "/m"),
        ("/lf/model/", "/m/"),
        ("/lf/model#10", "/m#10"),
        ("/lf/models", "/lf/models"),
        ("x/lf/model", "x/lf/model"),
        ('["/lf/model#3", 1, null]', '["/m#3", 1, null]'),
        ('{"a": "b /lf/model"}', '{"a": "b /lf/model"}'),
        ("[not json /lf/model", "[not json /lf/model"),
        ("", ""),
    ],
)
def test_real_paths(value: str, real: str) -> None:
    assert real_paths(value, {"/lf/model": Path("/m")}) == real
