"""Jobs in real containers: the hardening, the faults, and a whole agent with real SWIFT."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import msgspec
import pytest

from loraforge.swift.compiler import PlatformArguments, compile_argv, compile_env
from nodeagent.contract import paths
from nodeagent.contract.commands import Checkpoint, Input, Mount, Stop
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import JobSample, Sample
from nodeagent.journal import Handle
from nodeagent.runtimes import pulling
from nodeagent.runtimes.base import RuntimeAway, RuntimeFault
from nodeagent.runtimes.choice import machine_here, policy_make
from nodeagent.runtimes.container import LABEL_CLUSTER, Identity
from nodeagent.runtimes.docker import DockerRuntime
from nodeagent.runtimes.engine import engine_open
from tests.agent.engine import (
    IMAGE,
    URL,
    PrivateEngine,
    containers_remove,
    engine_client,
    may_start_engines,
    some_instance,
)
from tests.agent.plane import ROOT, AgentProcess, Plane, start_command, wait_for
from tests.agent.test_runtimes import CONTROL, WAITS, Bench

pytestmark = [pytest.mark.docker]

NORMAL = ["accepted", "preparing", "starting", "running", "finishing", "ended"]


@pytest.fixture
def engine() -> Iterator[docker.APIClient]:
    client = engine_client()
    yield client
    client.close()


@pytest.fixture
def bench(engine: docker.APIClient, tmp_path: Path) -> Iterator[Bench]:
    bench = Bench("docker", tmp_path)
    yield bench
    bench.close()
    containers_remove(engine, bench.cluster)


# -- the boundary

LOOK_AROUND = """
import json, os, socket, sys
def can_write(path):
    try:
        with open(path + "/probe", "w"): pass
    except OSError as error: return error.strerror
    os.unlink(path + "/probe"); return "yes"
status = dict(line.split(":", 1) for line in open("/proc/self/status") if ":" in line)
def connects():
    try: socket.create_connection(("1.1.1.1", 53), timeout=2).close()
    except OSError as error: return error.strerror
    return "yes"
print(json.dumps({
    "ids": [os.getuid(), os.geteuid(), os.getgid(), os.getegid(), os.getgroups()],
    "caps": [status[name].strip() for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")],
    "no_new_privs": status["NoNewPrivs"].strip(), "seccomp": status["Seccomp"].strip(),
    "init": open("/proc/1/cmdline").read().split("\\0")[0],
    "interfaces": sorted(os.listdir("/sys/class/net")), "connects": connects(),
    "processes": len([name for name in os.listdir("/proc") if name.isdecimal()]),
    "writes": {path: can_write(path) for path in sys.argv[1:]},
    "devices": sorted(set(os.listdir("/dev"))), "socket": os.path.exists("/var/run/docker.sock"),
    "environ": sorted(os.environ),
}))
"""


def test_what_a_job_can_do_from_inside(bench: Bench, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    places = ["/", "/etc", "/opt/swift", "/usr/bin", paths.INPUTS, f"{paths.INPUTS}/../job/inputs"]
    closed = [*places, paths.PLUGIN, paths.MODEL, "/sys/fs/cgroup", "/proc/sys"]
    opened = [paths.OUTPUT, paths.CONTROL, "/lf/job", "/lf/home", "/tmp", "/lf/job/tmp", "/dev/shm"]
    bench.start(LOOK_AROUND, *closed, *opened, mounts={paths.MODEL: model})
    assert bench.ended().exit_code == 0, bench.console()
    seen = json.loads(bench.console())
    assert seen["ids"] == [10001, 10001, 10001, 10001, [10001]]
    assert set(seen["caps"]) == {"0" * 16}
    assert (seen["no_new_privs"], seen["seccomp"]) == ("1", "2")
    assert "init" in seen["init"]
    assert (seen["interfaces"], seen["connects"]) == (["lo"], "Network is unreachable")
    assert seen["processes"] == 2
    assert {place for place in closed if seen["writes"][place] == "yes"} == set()
    assert {place for place in opened if seen["writes"][place] != "yes"} == set()
    assert not {"sda", "vda", "mem", "kmsg", "fuse"} & set(seen["devices"])
    assert not seen["socket"]
    assert not [name for name in seen["environ"] if name.startswith("LORAFORGE")]


def test_the_container_by_inspect(bench: Bench, engine: docker.APIClient) -> None:
    handle = bench.start(WAITS, CONTROL)
    found = engine.inspect_container(handle.container)
    config, host = found["Config"], found["HostConfig"]
    assert found["Name"] == f"/{bench.name}"
    assert config["User"] == "10001:10001"
    assert (
        config["Labels"].items()
        >= {
            "lf.cluster": bench.cluster,
            "lf.node": "n1",
            "lf.instance": str(bench.instance),
            "lf.attempt": "1",
            "lf.spec": "s1",
            "lf.devices": "cpu-0",
        }.items()
    )
    wanted = {
        "CapDrop": ["ALL"],
        "CapAdd": None,
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "NetworkMode": "none",
        "IpcMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "Init": True,
        "PidsLimit": 4096,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
        "AutoRemove": False,
        "Devices": None,
        "Binds": None,
        "VolumesFrom": None,
        "PortBindings": None,
        "PublishAllPorts": False,
    }
    assert {key: host[key] or None if key == "Devices" else host[key] for key in wanted} == wanted
    assert 0 < host["Memory"] == host["MemorySwap"]
    assert host["NanoCpus"] > 0
    assert host["ShmSize"] == 2 * 1024**3
    assert sorted(host["Tmpfs"]) == ["/lf/home", "/tmp"]
    places = {mount["Destination"]: (mount["Source"], mount["RW"]) for mount in found["Mounts"]}
    plugin = places.pop(paths.PLUGIN)
    assert (plugin[0].startswith(str(bench.settings.folder / "plugin")), plugin[1]) == (True, False)
    assert places == {
        "/lf/job": (str(bench.job.path), True),
        "/lf/inputs": (str(bench.job.inputs), False),
        "/lf/job/inputs": (str(bench.job.inputs), False),
    }


def test_it_may_not_have_more_than_its_memory(bench: Bench) -> None:
    bench.settings = msgspec.structs.replace(
        bench.settings,
        containers=msgspec.structs.replace(bench.settings.containers, memory_bytes=64 * 1024**2),
    )
    bench.runtime = bench.new_runtime()
    bench.start("hog = []\nwhile True: hog.append(bytearray(4_000_000))")
    state = bench.ended()
    assert (state.exit_code, state.killed_by, state.reason) == (137, 9, "node:oom_killed")


def test_several_processes_find_each_other(bench: Bench) -> None:
    script = bench.job.inputs / "reduce.py"
    script.write_text(
        "import torch, torch.distributed as dist\n"
        "dist.init_process_group('gloo'); one = torch.ones(1)\n"
        "dist.all_reduce(one); print('sum', int(one), flush=True)\n"
        "dist.destroy_process_group()\n"
    )
    bench.start("", processes=2, argv=[f"{paths.INPUTS}/reduce.py"])
    assert bench.ended(timeout_s=60).exit_code == 0, bench.console()
    assert bench.console().count("sum 2") == 2


# -- refusals


def test_another_spec_under_the_same_name_is_refused(bench: Bench) -> None:
    bench.start(WAITS, CONTROL)
    with pytest.raises(RuntimeFault) as caught:
        bench.start("pass", spec_hash="s2")
    assert caught.value.reason == "container:name_taken"
    assert bench.state().running


def test_another_node_s_container_is_neither_found_nor_taken(bench: Bench, tmp_path: Path) -> None:
    bench.start(WAITS, CONTROL)
    other = Bench("docker", tmp_path / "other")
    other.instance, other.name = bench.instance, bench.name
    assert other.runtime.find(bench.name, bench.job) is None
    assert other.runtime.running([]) == []
    with pytest.raises(RuntimeFault) as caught:
        other.start(WAITS, CONTROL)
    assert caught.value.reason == "container:name_taken"


def test_an_image_that_is_not_there(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    # half a minute between the tries, where no registry answers; tests/agent/test_pulling.py looks at them
    monkeypatch.setattr(pulling, "_pause", lambda *_arguments: None)
    containers = msgspec.structs.replace(bench.settings.containers, images=("lf-test/none:0",))
    bench.settings = msgspec.structs.replace(bench.settings, containers=containers)
    bench.runtime = bench.new_runtime()
    with pytest.raises(RuntimeFault) as caught:
        bench.runtime.prepare("lf-test/none:0", say=lambda **_how: None, cancelled=lambda: False)
    assert caught.value.reason == "image:missing"
    assert "lf-test/none:0" in caught.value.detail
    with pytest.raises(RuntimeFault) as caught:
        bench.start("pass", image="lf-test/none:0")
    assert caught.value.reason == "image:missing"


def test_a_model_that_the_job_may_not_read(bench: Bench, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.safetensors").touch(mode=0o600)
    with pytest.raises(RuntimeFault) as caught:
        bench.start("pass", mounts={paths.MODEL: model})
    assert caught.value.reason == "model:unreadable"
    assert "model.safetensors" in caught.value.detail


def test_what_cannot_start_leaves_no_container(bench: Bench, engine: docker.APIClient) -> None:
    containers = msgspec.structs.replace(bench.settings.containers, network="lf-no-such-network")
    bench.settings = msgspec.structs.replace(bench.settings, containers=containers)
    bench.runtime = bench.new_runtime()
    with pytest.raises(RuntimeFault) as caught:
        bench.start("pass", network=True)
    assert caught.value.reason == "container:start_failed"
    assert "lf-no-such-network" in caught.value.detail
    filters = {"label": f"{LABEL_CLUSTER}={bench.cluster}"}
    assert engine.containers(all=True, filters=filters) == []


def test_a_container_that_somebody_removed(bench: Bench, engine: docker.APIClient) -> None:
    handle = bench.start(WAITS, CONTROL)
    assert bench.state().running
    engine.remove_container(handle.container, force=True)
    assert bench.ended(timeout_s=5).reason == "container:gone"


def test_one_that_was_created_only_is_started(bench: Bench, engine: docker.APIClient) -> None:
    """The agent died between the two calls."""
    api = bench.runtime._api  # type: ignore[attr-defined]
    start, api.start = api.start, lambda _container: None
    created = bench.start(WAITS, CONTROL)
    api.start = start
    assert engine.inspect_container(created.container)["State"]["Status"] == "created"
    assert bench.runtime.find(bench.name, bench.job) is None
    assert bench.start(WAITS, CONTROL).container == created.container
    wait_for(lambda: "up" in bench.console())


def test_forgotten_it_is_gone_from_the_engine(bench: Bench, engine: docker.APIClient) -> None:
    handle = bench.start("open('/lf/job/tmp/cache', 'w').write('x')")
    bench.ended()
    bench.runtime.clean(handle, bench.job)
    assert list((bench.job.path / "tmp").iterdir()) == []
    assert bench.runtime.find(bench.name, bench.job) is not None, "kept until acknowledged"
    bench.runtime.forget(handle)
    bench.runtime.forget(handle)
    filters = {"label": f"{LABEL_CLUSTER}={bench.cluster}"}
    assert engine.containers(all=True, filters=filters) == []


# -- an engine that goes away


@pytest.fixture
def private_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateEngine]:
    if not may_start_engines():
        pytest.skip("needs root and dockerd")
    engine = PrivateEngine(tmp_path_factory.mktemp("e"))  # short: its sockets lie here
    yield engine
    engine.close()


class ShellBench(Bench):
    """Jobs of a private engine are shell scripts: `python -c` is `sh -c` there."""

    def __init__(self, folder: Path, engine: PrivateEngine) -> None:
        self._engine = engine
        super().__init__("docker", folder)

    def make_runtime(self) -> DockerRuntime:
        policy = policy_make(self.settings.containers, machine_here(devices=2), gpus="none")
        return DockerRuntime(
            engine=engine_open(url=self._engine.url, gpu_ways=None),
            identity=Identity(cluster=self.cluster, node="n1"),
            policy=msgspec.structs.replace(policy, images=("sh:1",), python="sh"),
            plugin=self.job.inputs,
            url=self._engine.url,
        )


COUNTS = "n=0; while [ ! -e /lf/job/control/go ]; do n=$((n+1)); echo line $n; sleep 0.02; done"


def _started(
    private: PrivateEngine, tmp_path: Path, *, live_restore: bool
) -> tuple[ShellBench, Handle]:
    client = private.start(live_restore=live_restore)
    private.shell_image(client, "sh:1")
    client.close()
    bench = ShellBench(tmp_path, private)
    handle = bench.start(COUNTS, image="sh:1")
    wait_for(lambda: bench.console().count("line") > 5)
    assert bench.state().running
    return bench, handle


def test_the_engine_is_killed_and_nothing_is_lost(
    private_engine: PrivateEngine, tmp_path: Path
) -> None:
    bench, handle = _started(private_engine, tmp_path, live_restore=True)
    private_engine.kill()
    lines = bench.console().count("line")
    wait_for(lambda: bench.console().count("line") > lines + 20, what="lines without an engine")
    assert bench.state().running, "not knowing is no end"
    with pytest.raises(RuntimeAway):
        bench.runtime.find(bench.name, bench.job)
    with pytest.raises(RuntimeAway):
        bench.start(COUNTS, image="sh:1")
    private_engine.start(live_restore=True).close()
    found = bench.runtime.find(bench.name, bench.job)
    assert found is not None
    assert (found.container, found.pid) == (handle.container, handle.pid)
    assert bench.state().running
    (bench.job.control / "go").touch()
    assert bench.ended().exit_code == 0
    numbers = [int(line.split()[1]) for line in bench.console().splitlines()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_an_engine_without_live_restore_takes_its_jobs_along(
    private_engine: PrivateEngine, tmp_path: Path
) -> None:
    bench, _handle = _started(private_engine, tmp_path, live_restore=False)
    private_engine.kill()
    private_engine.start(live_restore=False).close()
    state = bench.ended()
    assert (state.running, state.reason) == (False, "node:engine_restarted")


# -- a whole agent

TRAINER = """
import json, os, pathlib, signal, sys, time
out = pathlib.Path(sys.argv[1]); control = pathlib.Path(os.environ["CB_CONTROL_DIR"])
events = open(os.environ["CB_EVENTS"], "a", buffering=1)
told = []
signal.signal(signal.SIGTERM, lambda *_: told.append(1))
n = 0
while not (control / "go").exists() and not told:
    n += 1
    print(f"line {n}", flush=True)
    with open(out / "logging.jsonl", "a") as f: f.write(json.dumps({"step": n}) + "\\n")
    time.sleep(0.02)
events.write(json.dumps({"event": "stopped" if told else "train_end"}) + "\\n")
sys.exit(75 if told else 0)
"""
TRAINER_ARGV = ["-c", TRAINER, paths.OUTPUT]
TRAINER_ENV = {"CB_EVENTS": paths.EVENTS, "CB_CONTROL_DIR": paths.CONTROL}


class Docked:
    """An agent with the docker runtime, and the container of its one instance."""

    def __init__(self, plane: Plane, agent: AgentProcess, engine: docker.APIClient) -> None:
        self.plane, self.agent, self.engine = plane, agent, engine
        self.instance = some_instance()
        self.name = f"lf-{self.instance}-a1"
        self.folder = agent.folder / "jobs" / str(self.instance) / "a1"

    def send(self, argv: list[str] = TRAINER_ARGV, **more: Any) -> None:
        given = {"env": TRAINER_ENV, "image": IMAGE, **more}
        self.plane.send(start_command(self.instance, argv, **given))

    def inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = self.engine.inspect_container(self.name)
        return found

    def is_there(self) -> bool:
        filters = {"name": f"^/{self.name}$"}
        return bool(self.engine.containers(all=True, filters=filters))

    def lines(self) -> int:
        return self.plane.bytes_of(self.instance, 1, "log").count(b"\n")

    def assert_streams_whole(self) -> None:
        for stream, name in (
            ("log", "console.log"),
            ("metric", "output/logging.jsonl"),
            ("event", "events.jsonl"),
        ):
            assert (
                self.plane.bytes_of(self.instance, 1, stream) == (self.folder / name).read_bytes()
            )


@pytest.fixture
def docked(
    plane: Plane, tmp_path: Path, models: Path, engine: docker.APIClient
) -> Iterator[Docked]:
    plane.cluster = f"test-{some_instance()}"
    agent = AgentProcess(
        plane,
        tmp_path / "node",
        models=models,
        LORAFORGE_RUNTIME="docker",
        LORAFORGE_SWIFT_IMAGE=IMAGE,
        DOCKER_HOST=URL,
    )
    yield Docked(plane, agent.start(), engine)
    agent.close()
    containers_remove(engine, plane.cluster)


@pytest.mark.redis
def test_a_job_from_start_to_end(docked: Docked) -> None:
    plane = docked.plane
    join = plane.joins[-1]
    assert (join["runtime"], join["swift_version"]) == ("docker", "4.6.0")
    assert join["engine_version"]
    docked.send()
    wait_for(lambda: docked.lines() > 5)

    def job_sample() -> JobSample | None:
        samples: list[Sample] = plane.of(Sample)
        return samples[-1].jobs[0] if samples and samples[-1].jobs else None

    sample: JobSample = wait_for(job_sample, what="a sample of the job")
    assert sample.memory_bytes > 1_000_000
    plane.acking = False
    (docked.folder / "control/go").touch()
    plane.wait_phase(Phase.ENDED, docked.instance)
    assert docked.is_there(), "kept until its end is acknowledged"
    plane.acking_resume()
    ended = plane.wait_whole(docked.instance, timeout_s=40)
    assert plane.phase_names(docked.instance) == NORMAL
    assert (ended.exit_code, ended.outcome) == (0, Outcome.TRAIN_END)
    docked.assert_streams_whole()
    wait_for(lambda: not docked.is_there(), what="the container's removal", timeout_s=40)


@pytest.mark.redis
def test_a_killed_agent_s_container_is_taken_up_again(docked: Docked) -> None:
    plane = docked.plane
    docked.send()
    wait_for(lambda: docked.lines() > 5)
    before = docked.inspect()
    docked.agent.kill()
    lines = docked.lines()
    console = docked.folder / "console.log"
    wait_for(lambda: console.read_bytes().count(b"\n") > lines + 20)
    docked.agent.start()
    wait_for(lambda: docked.lines() > lines + 20)
    after = docked.inspect()
    assert (after["Id"], after["State"]["Pid"], after["RestartCount"]) == (
        before["Id"],
        before["State"]["Pid"],
        0,
    )
    (docked.folder / "control/go").touch()
    assert plane.wait_whole(docked.instance).exit_code == 0
    assert plane.phase_names(docked.instance) == NORMAL
    assert not plane.gaps
    docked.assert_streams_whole()


@pytest.mark.redis
def test_an_end_while_no_agent_lives_is_told_later(docked: Docked) -> None:
    docked.send()
    wait_for(lambda: docked.lines() > 2)
    docked.agent.kill()
    docked.engine.kill(docked.name, "SIGTERM")
    wait_for(lambda: docked.inspect()["State"]["Status"] == "exited")
    docked.agent.start()
    ended = docked.plane.wait_whole(docked.instance)
    assert (ended.exit_code, ended.outcome) == (75, Outcome.STOPPED)


@pytest.mark.redis
@pytest.mark.parametrize(("mode", "code"), [("save", 75), ("now", 75)])
def test_stop(docked: Docked, mode: Any, code: int) -> None:
    docked.send()
    wait_for(lambda: docked.lines() > 2)
    docked.plane.send(Stop(id="stop", instance=docked.instance, attempt=1, mode=mode))
    ended = docked.plane.wait_whole(docked.instance)
    assert (ended.exit_code, ended.outcome) == (code, Outcome.STOPPED)


@pytest.mark.redis
@pytest.mark.parametrize(("mode", "grace_s"), [("save", 0.4), ("now", 30.0)])
def test_who_will_not_stop_is_killed(docked: Docked, mode: Any, grace_s: float) -> None:
    script = (
        "import signal,time;signal.signal(15, signal.SIG_IGN);print('up',flush=True);time.sleep(90)"
    )
    docked.send(["-c", script])
    wait_for(lambda: docked.lines() == 1)
    begin = time.monotonic()
    stop = Stop(id="stop", instance=docked.instance, attempt=1, mode=mode, grace_s=grace_s)
    docked.plane.send(stop)
    ended = docked.plane.wait_whole(docked.instance)
    assert (ended.exit_code, ended.killed_by) == (137, 9)
    assert time.monotonic() - begin < 15


@pytest.mark.redis
def test_an_image_outside_the_list_is_refused(docked: Docked) -> None:
    docked.send(image="evil/miner:latest")
    refused = docked.plane.wait_phase(Phase.REFUSED, docked.instance)
    assert refused.reason == "image:not_allowed"


def test_without_an_engine_the_agent_says_what_to_do(tmp_path: Path) -> None:
    for wanted in ("auto", "docker"):
        done = subprocess.run(
            [
                *(str(ROOT / ".venv/bin/python"), "-m", "nodeagent", "--name", "n1"),
                *("--server", "http://127.0.0.1:1", "--data", str(tmp_path / "node")),
            ],
            env={
                "PATH": os.environ["PATH"],
                "LORAFORGE_NODE_TOKEN": "t",
                "LORAFORGE_RUNTIME": wanted,
                "DOCKER_HOST": f"unix://{tmp_path}/none.sock",
            },
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 78
        assert "No Docker engine answers" in done.stderr
        assert "LORAFORGE_RUNTIME=process" in done.stderr


# -- real SWIFT


@pytest.fixture(scope="session")
def swift_material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's tiny model and data, made by the training environment."""
    python = ROOT / ".venv-swift/bin/python"
    if not python.exists():
        pytest.skip("no training environment (make setup)")
    folder = tmp_path_factory.mktemp("material")
    subprocess.run(
        [str(python), str(ROOT / "tools/demo_material.py"), str(folder)],
        check=True,
        capture_output=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    return folder


def _swift_start(docked: Docked, models: Path, material: Path, **arguments: Any) -> None:
    shutil.copytree(material / "model", models / "model", dirs_exist_ok=True)
    data = (material / "data.jsonl").read_bytes()
    docked.plane.inputs["/data"] = data
    digest = subprocess.run(
        ["sha256sum", str(material / "data.jsonl")], capture_output=True, text=True, check=True
    ).stdout.split()[0]
    platform = PlatformArguments(
        model_type="qwen2", template="qwen2_5", datasets=("data.jsonl",), is_cpu=True
    )
    values: dict[str, Any] = {
        "torch_dtype": "float32",
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "logging_steps": 1,
        "max_length": 128,
        "dataloader_num_workers": 0,
        **arguments,
    }
    docked.send(
        compile_argv("sft", values, platform=platform),
        env=compile_env(values, platform=platform),
        inputs=[
            Input(
                target=f"{paths.INPUTS}/data.jsonl",
                url="/data",
                sha256=digest,
                size_bytes=len(data),
            )
        ],
        mounts=[Mount(target=paths.MODEL, path=str(models / "model"))],
    )


@pytest.mark.redis
@pytest.mark.swift
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_swift_trains_in_the_hardened_container(
    docked: Docked, models: Path, swift_material: Path
) -> None:
    _swift_start(docked, models, swift_material, max_steps=4)
    docked.plane.wait_phase(Phase.RUNNING, docked.instance)
    host = docked.inspect()["HostConfig"]
    assert (host["CapDrop"], host["ReadonlyRootfs"], host["NetworkMode"]) == (["ALL"], True, "none")
    ended = docked.plane.wait_whole(docked.instance, timeout_s=200)
    assert (ended.exit_code, ended.outcome) == (0, Outcome.TRAIN_END), _tail(docked)
    docked.assert_streams_whole()
    listed = {file.path for file in docked.plane.manifests(docked.instance)[-1].files}
    assert "output/checkpoint-4/adapter_model.safetensors" in listed
    rows = docked.plane.bytes_of(docked.instance, 1, "metric").decode().splitlines()
    assert [json.loads(row)["global_step/max_steps"] for row in rows[:4]] == [
        "1/4",
        "2/4",
        "3/4",
        "4/4",
    ]
    assert (docked.folder / "output").stat().st_uid == 10001


@pytest.mark.redis
@pytest.mark.swift
@pytest.mark.slow
@pytest.mark.timeout(240)
def test_swift_saves_on_request_and_before_it_stops(
    docked: Docked, models: Path, swift_material: Path
) -> None:
    plane, instance = docked.plane, docked.instance
    _swift_start(docked, models, swift_material, max_steps=100_000, save_strategy="no")

    def events(kind: str) -> list[dict[str, Any]]:
        lines = plane.bytes_of(instance, 1, "event").decode().splitlines()
        return [row for row in map(json.loads, lines) if row["event"] == kind]

    wait_for(lambda: len(events("log")) > 3, timeout_s=120, what="training steps")
    before = docked.inspect()["Id"]
    docked.agent.kill()
    docked.agent.start()
    plane.send(Checkpoint(id="save", instance=instance, attempt=1))
    wait_for(lambda: events("checkpoint"), timeout_s=30, what="a checkpoint on request")
    assert events("checkpoint")[0]["reason"] == "control"
    assert docked.inspect()["Id"] == before
    plane.send(Stop(id="stop", instance=instance, attempt=1, mode="save"))
    ended = plane.wait_whole(instance, timeout_s=60)
    assert (ended.exit_code, ended.outcome) == (75, Outcome.STOPPED), _tail(docked)
    stopped = events("stopped")[0]
    listed = {file.path for file in plane.manifests(instance)[-1].files}
    assert f"output/checkpoint-{stopped['step']}/adapter_model.safetensors" in listed


def _tail(docked: Docked) -> str:
    return (docked.folder / "console.log").read_text(errors="replace")[-3000:]
