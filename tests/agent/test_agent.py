"""The whole agent as a process, with tiny trainers: what the control plane sees of it."""

import functools
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from nodeagent.contract import channels
from nodeagent.contract.commands import Checkpoint, Input, Mount, Remove, Stop
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import JobSample, Sample
from tests.agent.plane import TOKEN, AgentProcess, Plane, start_command, wait_for

pytestmark = pytest.mark.redis

NORMAL = ["accepted", "preparing", "starting", "running", "finishing", "ended"]

# Writes numbered lines, metrics and events as a trainer does; ends when told by the file "go".
TRAINER = """
import json, os, pathlib, signal, sys, time
out = pathlib.Path(sys.argv[1]); out.mkdir(exist_ok=True)
events = open(os.environ["CB_EVENTS"], "a", buffering=1)
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
go = pathlib.Path(sys.argv[2]); n = 0
while not go.exists() and not stopped:
    n += 1
    print(f"line {n}", flush=True)
    with open(out / "logging.jsonl", "a") as f: f.write(json.dumps({"step": n}) + "\\n")
    if n == 3:
        (out / "checkpoint-3").mkdir(); (out / "checkpoint-3" / "adapter.bin").write_bytes(b"w" * 1000)
        events.write(json.dumps({"event": "checkpoint", "step": 3}) + "\\n")
    time.sleep(0.02)
events.write(json.dumps({"event": "stopped" if stopped else "train_end"}) + "\\n")
sys.exit(75 if stopped else 0)
"""


def trainer(tmp_path: Path) -> tuple[list[str], Path]:
    go = tmp_path / "go"
    return ["-c", TRAINER, "/lf/job/output", str(go)], go


ENV = {"CB_EVENTS": "/lf/job/events.jsonl", "CB_CONTROL_DIR": "/lf/job/control"}


def job_folder(agent: AgentProcess, instance: int, attempt: int = 1) -> Path:
    return agent.folder / "jobs" / str(instance) / f"a{attempt}"


def assert_streams_whole(plane: Plane, agent: AgentProcess, instance: int) -> None:
    folder = job_folder(agent, instance)
    assert plane.bytes_of(instance, 1, "log") == (folder / "console.log").read_bytes()
    assert plane.bytes_of(instance, 1, "metric") == (folder / "output/logging.jsonl").read_bytes()
    assert plane.bytes_of(instance, 1, "event") == (folder / "events.jsonl").read_bytes()


def test_a_job_from_start_to_end(plane: Plane, agent: AgentProcess, tmp_path: Path) -> None:
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    wait_for(lambda: plane.manifests(1), what="a manifest after the checkpoint")
    go.touch()
    ended = plane.wait_whole(1)
    assert plane.phase_names(1) == NORMAL
    assert (ended.exit_code, ended.killed_by, ended.outcome) == (0, None, Outcome.TRAIN_END)
    assert_streams_whole(plane, agent, 1)
    assert not plane.gaps
    first, last = plane.manifests(1)[0], plane.manifests(1)[-1]
    assert (first.complete, last.complete) == (False, True)
    listed = {file.path: file for file in last.files}
    assert set(listed) == {
        "console.log",
        "events.jsonl",
        "output/logging.jsonl",
        "output/checkpoint-3/adapter.bin",
    }
    for path, file in listed.items():
        content = (job_folder(agent, 1) / path).read_bytes()
        assert (file.size_bytes, file.sha256) == (
            len(content),
            hashlib.sha256(content).hexdigest(),
        )
    assert plane.result("start-1-1-s1").error == ""
    wait_for(
        lambda: (
            [(one.instance, one.attempt, one.spec_hash) for one in plane.heartbeats()[-1].held]
            == [(1, 1, "s1")]
        ),
        what="the attempt in the inventory",
    )


def test_samples_tell_of_host_and_job(plane: Plane, agent: AgentProcess, tmp_path: Path) -> None:
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))

    def job_sample() -> JobSample | None:
        samples: list[Sample] = plane.of(Sample)
        return samples[-1].jobs[0] if samples and samples[-1].jobs else None

    found: JobSample = wait_for(job_sample, what="a sample of the job")
    assert (found.instance, found.attempt, found.processes) == (1, 1, 1)
    assert found.memory_bytes > 1_000_000
    host = plane.of(Sample)[-1].host
    assert host.memory_total_bytes == psutil.virtual_memory().total
    go.touch()
    plane.wait_whole(1)


@pytest.mark.parametrize("how", ["kill", "end"])
def test_a_new_agent_adopts_what_runs(
    plane: Plane, agent: AgentProcess, tmp_path: Path, how: str
) -> None:
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    pid = plane.wait_phase(Phase.RUNNING, 1).pid
    assert pid is not None
    wait_for(lambda: plane.bytes_of(1, 1, "log").count(b"\n") > 10)
    agent.kill() if how == "kill" else agent.end()
    size = (job_folder(agent, 1) / "console.log").stat().st_size
    wait_for(lambda: (job_folder(agent, 1) / "console.log").stat().st_size > size + 100)
    assert psutil.Process(pid).is_running()
    agent.start()
    wait_for(lambda: len(plane.bytes_of(1, 1, "log")) > size + 100)
    assert psutil.Process(pid).is_running()
    go.touch()
    ended = plane.wait_whole(1)
    assert (ended.exit_code, ended.pid, ended.outcome) == (0, pid, Outcome.TRAIN_END)
    assert plane.phase_names(1) == NORMAL
    assert not plane.gaps
    assert_streams_whole(plane, agent, 1)


def test_an_end_while_no_agent_lives_is_told_later(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    script = f'import os,time\nwhile not os.path.exists("{go}"): time.sleep(0.01)\nexit(3)'
    plane.send(start_command(1, ["-c", script]))
    plane.wait_phase(Phase.RUNNING, 1)
    agent.kill()
    go.touch()
    wait_for((job_folder(agent, 1) / "run/exit_code").exists)
    agent.start()
    assert plane.wait_whole(1).exit_code == 3


def test_a_killed_trainer_tells_the_signal(plane: Plane, agent: AgentProcess) -> None:
    script = "import os,signal,time\ntime.sleep(0.1)\nos.kill(os.getpid(), signal.SIGKILL)"
    plane.send(start_command(1, ["-c", script]))
    ended = plane.wait_whole(1)
    assert (ended.exit_code, ended.killed_by, ended.outcome) == (137, 9, Outcome.NONE)


def test_a_killed_shim_leaves_no_trainer_unwatched(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    pid = plane.wait_phase(Phase.RUNNING, 1).pid
    assert pid is not None
    psutil.Process(pid).parent().kill()  # type: ignore[union-attr]
    grown = len(plane.bytes_of(1, 1, "log"))
    wait_for(lambda: len(plane.bytes_of(1, 1, "log")) > grown + 50)
    assert plane.phase_names(1)[-1] == "running"
    go.touch()
    ended = plane.wait_whole(1)
    assert (ended.exit_code, ended.reason) == (None, "process:exit_unknown")
    assert ended.outcome is Outcome.TRAIN_END


def test_stop_saves_first(plane: Plane, agent: AgentProcess, tmp_path: Path) -> None:
    argv, _go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    wait_for(lambda: plane.bytes_of(1, 1, "log").count(b"\n") > 3)
    plane.send(Stop(id="stop-1", instance=1, attempt=1, mode="save"))
    ended = plane.wait_whole(1)
    assert (ended.exit_code, ended.outcome) == (75, Outcome.STOPPED)
    assert plane.result("stop-1").error == ""


STUBBORN = """
import signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c",
    "import signal,time;signal.signal(signal.SIGTERM, signal.SIG_IGN);print('up',flush=True);time.sleep(60)"],
    start_new_session=True)
print("child", child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize(("mode", "grace_s"), [("save", 0.4), ("now", 30.0)])
def test_who_will_not_stop_is_killed_with_all_processes(
    plane: Plane, agent: AgentProcess, mode: str, grace_s: float
) -> None:
    plane.send(start_command(1, ["-c", STUBBORN]))
    wait_for(lambda: b"up\n" in plane.bytes_of(1, 1, "log"))
    words = plane.bytes_of(1, 1, "log").split()
    child = int(words[words.index(b"child") + 1])
    plane.send(Stop(id="stop-1", instance=1, attempt=1, mode=mode, grace_s=grace_s))  # type: ignore[arg-type]
    ended = plane.wait_whole(1, timeout_s=10)
    assert (ended.exit_code, ended.killed_by) == (137, 9)
    assert not psutil.pid_exists(child) or psutil.Process(child).status() == psutil.STATUS_ZOMBIE


def test_a_stop_that_overtakes_its_start(plane: Plane, agent: AgentProcess, tmp_path: Path) -> None:
    plane.send(Stop(id="stop-1", instance=1, attempt=1, mode="save"))
    assert plane.wait_phase(Phase.REFUSED, 1).reason == "command:stopped_before_start"
    argv, _go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    assert plane.result("start-1-1-s1").error == "command:stopped_before_start"
    assert plane.phase_names(1) == ["refused"]
    assert not job_folder(agent, 1).exists()


def test_commands_that_come_again(plane: Plane, agent: AgentProcess, tmp_path: Path) -> None:
    argv, go = trainer(tmp_path)
    start = start_command(1, argv, env=ENV)
    for _ in range(5):
        plane.send(start)
    plane.send(start_command(1, argv, env=ENV, id="same-spec-new-id"))
    plane.send(start_command(1, argv, env=ENV, spec="s2"))
    assert plane.result("same-spec-new-id").error == ""
    assert plane.result("start-1-1-s2").error == "command:spec_conflict"
    wait_for(lambda: plane.bytes_of(1, 1, "log").count(b"\n") > 3)
    go.touch()
    plane.wait_whole(1)
    assert plane.phase_names(1) == NORMAL
    assert plane.bytes_of(1, 1, "log").count(b"line 1\n") == 1


def test_what_is_refused(plane: Plane, agent: AgentProcess, tmp_path: Path, models: Path) -> None:
    argv, go = trainer(tmp_path)
    (models / "m").mkdir()
    (tmp_path / "secret").mkdir()
    (models / "way-out").symlink_to(tmp_path / "secret")
    plane.send(start_command(10, argv, env=ENV))  # holds cpu-0
    plane.wait_phase(Phase.RUNNING, 10)

    def mount(path: Path) -> list[Mount]:
        return [Mount(target="/lf/model", path=str(path))]

    cases: dict[int, tuple[dict[str, Any], str]] = {
        12: ({}, "device:busy"),
        13: ({"devices": ["cpu-7"]}, "device:unknown"),
        15: ({"devices": []}, "device:none"),
        17: ({"mounts": mount(models / "gone")}, "model:not_found"),
        19: ({"mounts": mount(tmp_path / "secret")}, "model:outside_roots"),
        21: ({"mounts": mount(models / "way-out")}, "model:outside_roots"),
        23: ({"mounts": mount(models / ".." / "secret")}, "model:outside_roots"),
    }
    for instance, (more, reason) in cases.items():
        plane.send(start_command(instance, argv, **{"env": ENV, **more}))
        refused = plane.wait_phase(Phase.REFUSED, instance)
        assert refused.reason == reason
        assert refused.detail
        assert plane.result(f"start-{instance}-1-s1").error == reason
    plane.send(start_command(10, argv, attempt=2, devices=["cpu-1"]))
    assert plane.result("start-10-2-s1").error == "instance:live"
    plane.send(Checkpoint(id="c-1", instance=99, attempt=1))
    assert plane.result("c-1").error == "attempt:not_running"
    go.touch()
    plane.wait_whole(10)
    plane.send(start_command(12, argv, attempt=2, env=ENV, mounts=mount(models / "m")))
    plane.wait_phase(Phase.RUNNING, 12, 2)
    plane.wait_whole(12, 2)


def test_checkpoint_leaves_the_control_file(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    plane.wait_phase(Phase.RUNNING, 1)
    plane.send(Checkpoint(id="c-1", instance=1, attempt=1))
    assert plane.result("c-1").error == ""
    assert (job_folder(agent, 1) / "control/save").exists()
    go.touch()
    plane.wait_whole(1)


def test_remove_deletes_the_files_but_not_the_memory(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    argv, go = trainer(tmp_path)
    start = start_command(1, argv, env=ENV)
    plane.send(start)
    plane.wait_phase(Phase.RUNNING, 1)
    plane.send(Remove(id="r-1", instance=1, attempt=1))
    assert plane.result("r-1").error == "instance:live"
    go.touch()
    plane.wait_whole(1)
    plane.send(Remove(id="r-2", instance=1, attempt=1))
    assert plane.result("r-2").error == ""
    assert not job_folder(agent, 1).exists()
    wait_for(lambda: not list((agent.folder / "trash").iterdir()))
    wait_for(lambda: plane.heartbeats()[-1].held == [])
    plane.send(start_command(1, argv, env=ENV, id="late"))
    assert plane.result("late").error == ""
    assert plane.phase_names(1) == NORMAL


def test_inputs_are_fetched_with_resume_and_verified(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    content = os.urandom(3_000_000)
    digest = hashlib.sha256(content).hexdigest()
    plane.inputs["/api/v1/agent/inputs/1?sig=x"] = content
    plane.cut_after = 1_200_000
    wanted = Input(
        target="/lf/inputs/d/data.bin",
        url="/api/v1/agent/inputs/1?sig=x",
        sha256=digest,
        size_bytes=len(content),
    )
    script = "import hashlib,sys;print(hashlib.sha256(open(sys.argv[1],'rb').read()).hexdigest())"
    argv = ["-c", script, "/lf/inputs/d/data.bin"]
    plane.send(start_command(1, argv, inputs=[wanted]))
    plane.wait_whole(1)
    assert plane.bytes_of(1, 1, "log").decode().strip() == digest
    assert [asked for _path, asked in plane.requests][:3] == [
        "",
        "bytes=1200000-",
        "bytes=2400000-",
    ]
    asked = len(plane.requests)
    plane.send(start_command(3, argv, inputs=[wanted]))
    plane.wait_whole(3)
    assert len(plane.requests) == asked, "the second job takes it from the cache"


def test_inputs_that_cannot_be_had(plane: Plane, agent: AgentProcess) -> None:
    plane.inputs["/bad"] = b"other"
    cases = {
        1: (
            Input(target="x", url="/gone", sha256="0" * 64, size_bytes=5),
            "input:not_found",
        ),
        2: (
            Input(target="x", url="/bad", sha256="1" * 64, size_bytes=5),
            "input:hash_mismatch",
        ),
        3: (
            Input(target="../x", url="/bad", sha256="1" * 64, size_bytes=5),
            "input:bad_spec",
        ),
        4: (
            Input(target="x", url="/bad", sha256="2" * 64, size_bytes=10**18),
            "node:disk_full",
        ),
    }
    for instance, (wanted, reason) in cases.items():
        plane.send(start_command(instance, ["-c", "pass"], inputs=[wanted]))
        assert plane.wait_phase(Phase.REFUSED, instance).reason == reason


def test_no_secret_of_the_agent_reaches_the_trainer(plane: Plane, agent: AgentProcess) -> None:
    script = "import os,json;print(json.dumps(dict(os.environ)))"
    plane.send(start_command(1, ["-c", script], env={"CB_EVENTS": "/lf/job/events.jsonl"}))
    plane.wait_whole(1)
    environ = json.loads(plane.bytes_of(1, 1, "log"))
    assert TOKEN not in environ.values()
    assert not [name for name in environ if name.startswith("LORAFORGE_NODE")]
    assert environ["CB_EVENTS"] == str(job_folder(agent, 1) / "events.jsonl")
    assert environ["CUDA_VISIBLE_DEVICES"] == ""
    assert environ["HOME"] == str(agent.folder / "cache/home")


def test_a_planted_link_is_neither_followed_nor_fatal(plane: Plane, agent: AgentProcess) -> None:
    script = """
import os, time
home = os.path.dirname(os.getcwd())
os.unlink(home + "/console.log"); os.symlink("/etc/passwd", home + "/console.log")
os.rmdir(home + "/output"); os.symlink("/etc", home + "/output")
os.mkfifo(home + "/events.jsonl")
time.sleep(1.5)
"""
    plane.send(start_command(1, ["-c", script]))
    ended = plane.wait_whole(1)
    assert ended.exit_code == 0
    assert b"root:" not in plane.bytes_of(1, 1, "log")
    assert plane.manifests(1)[-1].files == []
    assert plane.manifests(1)[-1].skipped == 3
    assert "tail:unsafe_file" in {change.reason for change in plane.phases(1)}


def _longer_than(plane: Plane, size: int) -> bool:
    return len(plane.bytes_of(1, 1, "log")) > size


def test_flushall_in_mid_training_loses_nothing(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    for _ in range(3):
        grown = len(plane.bytes_of(1, 1, "log")) + 100
        wait_for(functools.partial(_longer_than, plane, grown))
        plane.redis.flushall()
    go.touch()
    plane.wait_whole(1, timeout_s=45)
    assert_streams_whole(plane, agent, 1)


def test_what_was_swallowed_is_sent_again(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    """Reports that vanish behind the agent's back: nothing says so but an end that stands still."""
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV))
    wait_for(lambda: plane.bytes_of(1, 1, "log").count(b"\n") > 5)
    stream = channels.report_stream(plane.node)
    script = plane.redis.register_script("return redis.call('XTRIM', KEYS[1], 'MAXLEN', 0)")
    go.touch()
    until = time.monotonic() + 1.5
    while time.monotonic() < until:
        script(keys=[stream])
    plane.wait_whole(1, timeout_s=40)
    assert plane.phase_names(1)[-1] == "ended"
    assert_streams_whole(plane, agent, 1)


def test_two_agents_cannot_share_a_folder(
    plane: Plane, agent: AgentProcess, tmp_path: Path, models: Path
) -> None:
    second = AgentProcess(plane, agent.folder, models=models)
    second.log = tmp_path / "second.log"
    second.start(wait=False)
    assert second.process is not None
    assert second.process.wait(20) == 78
    assert "Another agent works in" in second.log.read_text()


def test_another_cluster_is_refused(plane: Plane, agent: AgentProcess) -> None:
    agent.end()
    plane.cluster = "cluster-b"
    agent.start(wait=False)
    assert agent.process is not None
    assert agent.process.wait(20) == 78
    assert "belongs to the cluster cluster-a" in agent.log.read_text()


@pytest.mark.parametrize("skew_s", [30.0, -30.0])
def test_a_wrong_clock_is_refused(plane: Plane, idle_agent: AgentProcess, skew_s: float) -> None:
    plane.clock_skew_s = skew_s
    idle_agent.start(wait=False)
    assert idle_agent.process is not None
    assert idle_agent.process.wait(20) == 78
    assert "NTP" in idle_agent.log.read_text()


@pytest.mark.parametrize("status", [400, 401, 403, 409])
def test_a_refused_join_ends_with_a_text(
    plane: Plane, idle_agent: AgentProcess, status: int
) -> None:
    plane.join_status = status
    idle_agent.start(wait=False)
    assert idle_agent.process is not None
    assert idle_agent.process.wait(20) == 78
    text = idle_agent.log.read_text()
    assert "agent:refused: No." in text
    assert TOKEN not in text


def test_joining_goes_on_while_the_control_plane_is_in_trouble(
    plane: Plane, idle_agent: AgentProcess
) -> None:
    plane.join_status = 503
    idle_agent.start(wait=False)
    wait_for(lambda: len(plane.joins) >= 3)
    plane.join_status = 200
    wait_for(plane.heartbeats)
    join = plane.joins[-1]
    assert (join["node"], join["runtime"], join["cpu_slots"]) == ("n1", "process", 2)


def test_sigterm_ends_the_agent_soon(plane: Plane, agent: AgentProcess) -> None:
    begin = time.monotonic()
    assert agent.end() == 0
    assert time.monotonic() - begin < 6


def test_redis_away_and_back(tmp_path: Path, redis_server_binary: Path, models: Path) -> None:
    """The server is killed and started empty while a training runs."""
    path = tmp_path / "r.sock"

    def server() -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [str(redis_server_binary), "--port", "0", "--unixsocket", str(path), "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        client = redis.Redis.from_url(f"unix://{path}")

        def answers() -> bool:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False

        wait_for(answers)
        return process

    running = server()
    plane = Plane(f"unix://{path}?db=0")
    agent = AgentProcess(plane, tmp_path / "node", models=models)
    try:
        agent.start()
        argv, go = trainer(tmp_path)
        plane.send(start_command(1, argv, env=ENV))
        wait_for(lambda: plane.bytes_of(1, 1, "log").count(b"\n") > 5)
        running.kill()
        running.wait(10)
        console = job_folder(agent, 1) / "console.log"
        size = console.stat().st_size
        wait_for(lambda: console.stat().st_size > size + 200)
        running = server()
        wait_for(lambda: len(plane.bytes_of(1, 1, "log")) > size + 200, timeout_s=40)
        plane.send(Stop(id="stop-1", instance=1, attempt=1, mode="save"))
        plane.wait_whole(1, timeout_s=40)
        assert_streams_whole(plane, agent, 1)
        assert go is not None
    finally:
        agent.close()
        plane.close()
        running.terminate()
        running.wait(10)


def test_the_agent_knows_neither_django_nor_the_control_plane() -> None:
    script = """
import importlib, pkgutil, sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"django", "loraforge", "rest_framework", "channels"}:
            raise ImportError("blocked: " + name)
sys.meta_path.insert(0, Block())
import nodeagent
for module in pkgutil.walk_packages(nodeagent.__path__, "nodeagent."):
    if "swift_plugin" not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
import nodeagent.__main__
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


# Says that it saves, writes for longer than any grace, and says that it is done.
SLOW_SAVER = """
import json, os, pathlib, signal, sys, time
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
events = open(os.environ["CB_EVENTS"], "a", buffering=1)
tell = lambda **row: events.write(json.dumps(row) + "\\n")
tell(event="train_begin")
while not stopped: time.sleep(0.01)
tell(event="saving")
folder = pathlib.Path(sys.argv[1]) / "checkpoint-7"; folder.mkdir(parents=True)
for n in range(15):
    with open(folder / "model.bin", "ab") as file: file.write(b"x" * 1000)
    time.sleep(0.1)
tell(event="checkpoint", step=7)
tell(event="stopped", step=7, checkpoint=str(folder))
sys.exit(75)
"""


def test_a_stop_waits_for_a_checkpoint_that_is_being_written(
    plane: Plane, agent: AgentProcess
) -> None:
    plane.send(start_command(1, ["-c", SLOW_SAVER, "/lf/job/output"], env=ENV))
    wait_for(lambda: b"train_begin" in plane.bytes_of(1, 1, "event"), what="a training")
    plane.send(Stop(id="stop-1", instance=1, attempt=1, mode="save", grace_s=0.3, save_max_s=60))
    ended = plane.wait_whole(1)
    assert (ended.exit_code, ended.outcome) == (75, Outcome.STOPPED)
    sizes = {file.path: file.size_bytes for file in plane.manifests(1)[-1].files}
    assert sizes["output/checkpoint-7/model.bin"] == 15_000


def test_cut_off_only_what_may_be_replaced_ends_itself(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    argv, go = trainer(tmp_path)
    plane.send(start_command(1, argv, env=ENV, fence_after_s=6, fence_grace_s=20))
    plane.send(start_command(2, argv, env=ENV))
    pids = [plane.wait_phase(Phase.RUNNING, number).pid for number in (1, 2)]

    def promised() -> dict[int, int]:
        beats = plane.heartbeats()
        return {one.instance: one.fenced_after_s for one in beats[-1].held} if beats else {}

    wait_for(lambda: promised() == {1: 26, 2: 0}, what="the node's promise in its heartbeat")
    assert all(psutil.pid_exists(pid) for pid in pids if pid), "as long as it is heard"
    plane.acking, plane.join_status = False, 503
    agent.kill()
    agent.start(wait=False)  # it cannot join, and keeps the fence all the same
    wait_for(lambda: not (pids[0] and psutil.pid_exists(pids[0])), timeout_s=60, what="the fence")
    assert psutil.pid_exists(pids[1] or 0), "law 8: the other one goes on"
    plane.join_status = 200
    ended = plane.wait_phase(Phase.ENDED, 1, timeout_s=60)
    assert (ended.reason, ended.outcome) == ("node:fenced", Outcome.STOPPED)
    assert psutil.pid_exists(pids[1] or 0)
    plane.acking = True
    go.touch()
    assert plane.wait_phase(Phase.ENDED, 2).reason == ""
