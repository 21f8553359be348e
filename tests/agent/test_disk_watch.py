"""A job that writes more than it may is warned and ended; its training data goes with its end."""

import hashlib
import os
from pathlib import Path

import pytest

from nodeagent.contract.commands import Input
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import PhaseChange
from nodeagent.workspace import JobFolder, folder_bytes
from tests.agent.plane import AgentProcess, Plane, start_command, wait_for

MIB = 1024**2

# Writes 1 MiB after another, never less than asked, until it is ended.
GREEDY = """
import os, pathlib, sys, time
out = pathlib.Path(sys.argv[1])
(out / "first").write_bytes(os.urandom(int(sys.argv[2]) << 20))
go = pathlib.Path(sys.argv[3])
while not go.exists(): time.sleep(0.02)
(out / "second").write_bytes(os.urandom(int(sys.argv[2]) << 20))
time.sleep(600)
"""


def notes(plane: Plane, instance: int) -> list[PhaseChange]:
    return [one for one in plane.phases(instance) if one.reason == "user:disk_quota_near"]


@pytest.mark.redis
def test_a_job_over_its_limit_is_warned_then_ended(
    plane: Plane, agent: AgentProcess, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    argv = ["-c", GREEDY, "/lf/job/output", "19", str(go)]
    plane.send(start_command(1, argv, disk_bytes=20 * MIB))
    plane.wait_phase(Phase.RUNNING, 1)
    wait_for(lambda: notes(plane, 1), timeout_s=60, what="a warning")
    assert plane.phases(1)[-1].phase is Phase.RUNNING
    go.touch()
    ended = plane.wait_phase(Phase.ENDED, 1, timeout_s=60)
    assert (ended.reason, ended.killed_by) == ("user:disk_quota", 15)
    assert "GiB" in ended.detail
    assert len(notes(plane, 1)) == 1


@pytest.mark.redis
def test_the_training_data_goes_at_the_end(plane: Plane, agent: AgentProcess) -> None:
    content = os.urandom(100_000)
    plane.inputs["/in"] = content

    wanted = Input(
        target="/lf/inputs/train.jsonl",
        url="/in",
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
    )
    code = "import sys; print(len(open(sys.argv[1], 'rb').read()))"
    plane.send(start_command(1, ["-c", code, "/lf/inputs/train.jsonl"], inputs=[wanted]))
    plane.wait_whole(1)
    assert plane.bytes_of(1, 1, "log") == b"100000\n"
    folder = agent.folder / "jobs/1/a1"
    assert (folder / "output").exists()
    assert not (folder / "inputs").exists()


def test_what_a_folder_takes(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "job")
    job.create()
    empty = folder_bytes(job.path)
    (job.output / "a/b").mkdir(parents=True)
    (job.output / "a/b/weights").write_bytes(os.urandom(MIB))
    os.link(job.output / "a/b/weights", job.output / "again")
    with (job.output / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    (job.inputs / "train").write_bytes(os.urandom(MIB))
    (job.output / "out").symlink_to("/usr")
    (job.output / "loop").symlink_to(job.path)
    taken = folder_bytes(job.path) - empty
    assert MIB <= taken < MIB + 64 * 1024
    assert folder_bytes(tmp_path / "gone") == 0
