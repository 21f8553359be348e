"""What every runtime promises, tried on each: real processes, real containers."""

import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from nodeagent.config import Settings
from nodeagent.contract import paths
from nodeagent.journal import Handle
from nodeagent.runtimes.base import Launch, Runtime, RuntimeFault, Signal, State
from nodeagent.runtimes.choice import engine_choose, runtime_make
from nodeagent.workspace import JobFolder
from tests.agent.engine import IMAGE, containers_remove, engine_client, some_instance
from tests.agent.plane import wait_for

WAITS = """
import os, signal, sys, time
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
print("up", os.getpid(), flush=True)
while not told and not os.path.exists(sys.argv[1] + "/go"): time.sleep(0.01)
print("end", flush=True)
sys.exit(75 if told else 0)
"""
STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import signal,time\\n"
    "signal.signal(signal.SIGTERM, signal.SIG_IGN)\\nprint('up', flush=True)\\n"
    "while True: time.sleep(0.05); print('lives', flush=True)"], start_new_session=True)
time.sleep(60)
"""


class Bench:
    """One runtime with a job folder, and what it takes to play an agent."""

    def __init__(self, kind: str, folder: Path) -> None:
        self.kind = kind
        self.cluster = uuid.uuid4().hex
        self.instance = some_instance()
        self.name = f"lf-{self.instance}-a1"
        self.job = JobFolder(folder / "jobs" / str(self.instance) / "a1")
        self.job.create()
        self.settings = Settings(
            name="n1",
            token="t",
            server="http://127.0.0.1",
            folder=folder,
            runtime=kind,
            swift_python=Path(sys.executable),
            trainer_env={"PATH": os.environ["PATH"]},
        )
        self.handles: list[Handle] = []
        self.runtimes: list[Runtime] = []
        self.runtime = self.new_runtime()

    def new_runtime(self) -> Runtime:
        """As an agent makes it that was just started."""
        self.runtimes.append(self.make_runtime())
        return self.runtimes[-1]

    def make_runtime(self) -> Runtime:
        engine = engine_choose(self.settings, has_gpus=False, raw=None)
        return runtime_make(self.settings, engine=engine, cluster=self.cluster, devices=2)

    def launch(self, script: str, *arguments: str, **more: Any) -> Launch:
        given: dict[str, Any] = {
            "name": self.name,
            "instance": self.instance,
            "attempt": 1,
            "spec_hash": "s1",
            "folder": self.job,
            "argv": ["-c", script, *arguments],
            "env": {},
            "devices": ["cpu-0"],
            "mounts": {},
            "image": IMAGE if self.kind == "docker" else "",
            **more,
        }
        return Launch(**given)

    def start(self, script: str, *arguments: str, **more: Any) -> Handle:
        handle = self.runtime.start(self.launch(script, *arguments, **more))
        self.handles.append(handle)
        return handle

    def console(self) -> str:
        path = self.job.path / "console.log"
        return path.read_text() if path.exists() else ""

    def state(self) -> State:
        return self.runtime.state(self.handles[-1], self.job)

    def ended(self, *, timeout_s: float = 20.0) -> State:
        wait_for(lambda: not self.state().running, timeout_s=timeout_s, what="the end")
        return self.state()

    def close(self) -> None:
        for handle in self.handles:
            self.runtime.clean(handle, self.job)
            self.runtime.forget(handle)
        for runtime in self.runtimes:
            runtime.close()


@pytest.fixture(
    params=[
        "process",
        pytest.param("docker", marks=[pytest.mark.docker]),
    ]
)
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    client = engine_client() if request.param == "docker" else None
    bench = Bench(request.param, tmp_path)
    yield bench
    bench.close()
    if client is not None:
        containers_remove(client, bench.cluster)
        client.close()


CONTROL = paths.CONTROL


@pytest.mark.parametrize("code", [0, 3])
def test_it_runs_and_tells_its_code(bench: Bench, code: int) -> None:
    bench.start(f"import sys; print('out'); print('err', file=sys.stderr); sys.exit({code})")
    assert bench.ended() == State(running=False, exit_code=code)
    assert sorted(bench.console().split()) == ["err", "out"]


def test_a_signal_that_killed_it_is_told(bench: Bench) -> None:
    bench.start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert bench.ended() == State(running=False, exit_code=137, killed_by=9)


def test_started_twice_it_runs_once(bench: Bench) -> None:
    handles: list[Handle] = []
    threads = [
        threading.Thread(target=lambda: handles.append(bench.start(WAITS, CONTROL)))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(handles) == 6
    assert len({(handle.container, handle.pid) for handle in handles}) == 1
    wait_for(lambda: "up" in bench.console())
    (bench.job.control / "go").touch()
    assert bench.ended().exit_code == 0
    assert bench.console().count("up") == 1


def test_a_start_that_fails_late_leaves_nothing_running(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its devices are given to somebody else; an orphan would train on them as well."""
    if bench.kind != "process":
        return  # the engine removes what it could not start
    children: list[subprocess.Popen[bytes]] = []

    def fail(_launch: Launch, child: subprocess.Popen[bytes]) -> Handle:
        children.append(child)
        wait_for(lambda: "up" in bench.console())
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(bench.runtime, "_await_pids", fail)
    with pytest.raises(OSError, match="Invalid argument"):
        bench.start(WAITS, CONTROL)
    assert children[0].returncode == -9
    found = bench.runtime.find(bench.name, bench.job)
    assert found is not None
    wait_for(lambda: not bench.runtime.state(found, bench.job).running)


def test_a_later_agent_finds_it(bench: Bench) -> None:
    first = bench.start(WAITS, CONTROL)
    wait_for(lambda: "up" in bench.console())
    later = bench.new_runtime()
    found = later.find(bench.name, bench.job)
    assert found is not None
    assert (found.name, found.pid, found.container) == (first.name, first.pid, first.container)
    assert later.state(found, bench.job).running
    assert later.running([(bench.name, bench.job)]) == [bench.name]
    (bench.job.control / "go").touch()
    wait_for(lambda: not later.state(found, bench.job).running)
    assert later.state(found, bench.job).exit_code == 0
    assert later.running([(bench.name, bench.job)]) == []


def test_an_end_that_nobody_watched_is_known_later(bench: Bench) -> None:
    bench.start("raise SystemExit(7)")
    bench.ended()
    later = bench.new_runtime()
    found = later.find(bench.name, bench.job)
    assert found is not None
    assert later.state(found, bench.job).exit_code == 7


def test_what_was_never_started_is_not_found(bench: Bench) -> None:
    assert bench.runtime.find(bench.name, bench.job) is None
    assert bench.runtime.running([(bench.name, bench.job)]) == []


def test_term_reaches_the_trainer(bench: Bench) -> None:
    handle = bench.start(WAITS, CONTROL)
    wait_for(lambda: "up" in bench.console())
    bench.runtime.signal(handle, bench.job, Signal.TERM)
    assert bench.ended() == State(running=False, exit_code=75)
    assert bench.console().endswith("end\n")


def test_kill_ends_all_its_processes(bench: Bench) -> None:
    handle = bench.start(STUBBORN)
    wait_for(lambda: "lives" in bench.console())
    bench.runtime.signal(handle, bench.job, Signal.TERM_ALL)
    size = len(bench.console())
    wait_for(lambda: len(bench.console()) > size + 20, what="a sign of life after TERM")
    bench.runtime.signal(handle, bench.job, Signal.KILL)
    state = bench.ended()
    assert (state.exit_code, state.killed_by) == (137, 9)
    bench.runtime.clean(handle, bench.job)
    size = len(bench.console())
    time.sleep(0.2)
    assert len(bench.console()) == size
    bench.runtime.signal(handle, bench.job, Signal.TERM)  # one that has ended is not told


def test_its_end_is_noticed_at_once(bench: Bench) -> None:
    bench.start(WAITS, CONTROL)
    wait_for(lambda: "up" in bench.console())
    assert bench.state().running
    (bench.job.control / "go").touch()
    wait_for(lambda: "end" in bench.console())
    begin = time.monotonic()
    bench.ended()
    assert time.monotonic() - begin < 1.0


def test_usage_while_it_runs(bench: Bench) -> None:
    script = "import os, sys, time\nhog = bytearray(60_000_000)\nprint('up', flush=True)\n"
    handle = bench.start(
        script + "while not os.path.exists(sys.argv[1] + '/go'): sum(range(1000))", CONTROL
    )
    wait_for(lambda: "up" in bench.console())
    assert bench.runtime.usage(handle) is not None
    time.sleep(0.5)
    usage = bench.runtime.usage(handle)
    assert usage is not None
    assert usage.memory_bytes > 55_000_000
    assert usage.cpu_percent > 10
    assert usage.processes >= 1
    (bench.job.control / "go").touch()
    bench.ended()
    assert bench.runtime.usage(handle) is None


def test_it_sees_its_inputs_and_its_model(bench: Bench, tmp_path: Path) -> None:
    (bench.job.inputs / "data.jsonl").write_text("rows")
    model = tmp_path / "model"
    model.mkdir()
    (model / "weights").write_text("w")
    script = "import sys; print([open(path).read() for path in sys.argv[1:]])"
    bench.start(
        script,
        f"{paths.INPUTS}/data.jsonl",
        f"{paths.MODEL}/weights",
        mounts={paths.MODEL: model},
    )
    assert bench.ended().exit_code == 0
    assert bench.console() == "['rows', 'w']\n"


def test_it_finds_the_plugin_and_what_the_job_set(bench: Bench) -> None:
    script = "import os, sys; print(os.environ['MINE'], os.path.exists(sys.argv[1]), os.environ.get('TOKEN'))"
    bench.start(script, f"{paths.PLUGIN}/platform_callback.py", env={"MINE": "x"})
    assert bench.ended().exit_code == 0
    assert bench.console() == "x True None\n"


def test_what_cannot_run_is_refused(bench: Bench) -> None:
    if bench.kind == "process":
        bench.settings = msgspec.structs.replace(bench.settings, swift_python=Path("/none/python"))
        bench.runtime = bench.new_runtime()
    with pytest.raises(RuntimeFault) as caught:
        bench.start("pass", image="loraforge/none:0")
    assert caught.value.reason in {"image:not_allowed", "runtime:python_missing"}


@pytest.mark.parametrize("depth", [1, 30])
def test_workers_of_a_process_talk_however_deep_its_folder_lies(tmp_path: Path, depth: int) -> None:
    bench = Bench("process", tmp_path.joinpath(*["deep"] * depth))
    try:
        bench.start(
            "import multiprocessing as m, os, pathlib, tempfile\n"
            "with m.Manager() as manager: print(manager.list([42]))\n"
            "pathlib.Path(tempfile.gettempdir(), 'kept').touch()"
        )
        assert bench.ended().exit_code == 0, bench.console()
        assert bench.console() == "[42]\n"
        assert (bench.job.tmp / "kept").exists(), "its files stay in its folder"
    finally:
        bench.close()
    assert not [
        link
        for link in Path(tempfile.gettempdir()).glob("lf-*")
        if link.is_symlink() and link.readlink() == bench.job.tmp
    ]
