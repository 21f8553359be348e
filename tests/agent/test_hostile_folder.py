"""What a job can leave behind to hang its agent or to fill the control plane: each has an end."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from nodeagent import tail as tail_module
from nodeagent import workspace as workspace_module
from nodeagent.contract.phases import Outcome
from nodeagent.contract.reports import Files, Report, Stream, report_pack, report_unpack
from nodeagent.supervisor.closing import Manifests, outcome_read
from nodeagent.tail import Tail
from nodeagent.workspace import JobFolder, Workspace
from tests.agent.plane import AgentProcess, Plane, start_command

pytestmark = pytest.mark.timeout(60)

TIB = 1024**4


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    folder = Workspace(tmp_path / "node").job(1, 1)
    folder.create()
    return folder


def _made(job: JobFolder) -> Files:
    """The manifest as it arrives at the other end of the wire."""
    files = Manifests().make(job, complete=True)
    report = report_unpack(report_pack(Report(node="n1", stream="files", body=files)))
    assert isinstance(report.body, Files)
    return report.body


def test_names_that_are_no_text_are_counted_not_sent(job: JobFolder) -> None:
    """The wire knows UTF-8 only, and no token is signed for two lines: such a name must neither keep a job
    from ending, nor break the zip of all that it left.
    """
    (job.output / "good").write_bytes(b"1")
    (job.output / "new\nline").write_bytes(b"2")
    folder = os.fsencode(job.output)
    Path(os.fsdecode(folder + b"/\xff\xfe.bin")).write_bytes(b"3")
    Path(os.fsdecode(folder + b"/\xe9")).mkdir()
    Path(os.fsdecode(folder + b"/\xe9/inside")).write_bytes(b"4")
    made = _made(job)
    assert [file.path for file in made.files] == ["output/good"]
    assert made.skipped == 3


def test_a_file_that_is_nearly_all_hole_is_not_hashed(job: JobFolder) -> None:
    with (job.output / "sparse").open("wb") as file:
        file.truncate(TIB)
    with (job.output / "small").open("wb") as file:
        file.truncate(1024**2)
    begun = time.monotonic()
    made = _made(job)
    assert time.monotonic() - begun < 5
    assert [file.path for file in made.files] == ["output/small"]
    assert made.skipped == 1


def test_a_file_of_many_names_is_read_once(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    (job.output / "a").write_bytes(b"x" * 1000)
    for number in range(50):
        (job.output / f"b{number}").hardlink_to(job.output / "a")
    hashed: list[str] = []
    real = Manifests._read

    def counted(self: Manifests, folder: JobFolder, found: workspace_module.Found) -> Any:
        hashed.append(found.path)
        return real(self, folder, found)

    monkeypatch.setattr(Manifests, "_read", counted)
    made = Manifests().make(job, complete=True)
    assert len(made.files) == 51
    assert len({file.sha256 for file in made.files}) == 1
    assert hashed == ["output/a"]


def test_a_manifest_has_an_end(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace_module, "MAX_FILES", 10)
    (job.path / "console.log").write_bytes(b"hello")
    for name in ("a", "b"):
        (job.output / name).mkdir()
        for number in range(9):
            (job.output / name / f"{number}").write_bytes(b"")
    walk = job.walk()
    assert len(walk.files) == 10
    assert walk.skipped >= 1


def test_a_file_that_cannot_be_read_is_skipped(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trainer in a container is another user: what it closes to its agent must not stop the end."""
    (job.output / "closed").write_bytes(b"1")
    (job.output / "open").write_bytes(b"1")
    (job.path / "events.jsonl").write_bytes(b'{"event": "train_end"}\n')
    real = workspace_module._open_component

    def refusing(name: str, flags: int, parent: int, relative: str) -> int:
        if name in {"closed", "events.jsonl"}:
            raise PermissionError(13, "Permission denied", relative)
        return real(name, flags, parent, relative)

    monkeypatch.setattr(workspace_module, "_open_component", refusing)
    made = Manifests().make(job, complete=True)
    assert [file.path for file in made.files] == ["output/open"]
    assert made.skipped == 2
    assert outcome_read(job) is Outcome.NONE


def test_a_folder_that_its_job_removed_is_empty(job: JobFolder) -> None:
    job.output.rmdir()
    for name in ("control", "inputs", "work", "run", "tmp"):
        (job.path / name).rmdir()
    job.path.rmdir()
    assert _made(job).files == []
    job.path.write_bytes(b"a file in place of the folder")
    assert _made(job).files == []
    assert Tail(folder=job, stream="log").read() is None


def test_what_resists_deletion_holds_up_nobody_else(tmp_path: Path, job: JobFolder) -> None:
    workspace = Workspace(tmp_path / "node")
    here = os.open(job.output, os.O_RDONLY)
    for _depth in range(2500):  # deeper than Python recurses, and than one process opens files
        os.mkdir("d", dir_fd=here)
        deeper = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = deeper
    os.close(here)
    (job.output / "closed").mkdir()
    (job.output / "closed/file").write_bytes(b"1")
    (job.output / "closed").chmod(0)
    workspace.job(2, 1).create()
    workspace.discard(1, up_to=1)
    workspace.discard(2, up_to=1)
    workspace.trash_empty()
    assert list(workspace.trash.iterdir()) == []


def test_times_beyond_all_calendars_are_told_as_they_are(job: JobFolder) -> None:
    (job.output / "a").write_bytes(b"1")
    os.utime(job.output / "a", ns=(2**62, 2**62))
    assert len(_made(job).files) == 1


@pytest.mark.parametrize("stream", ["log", "metric"])
def test_a_stream_has_an_end(
    job: JobFolder, monkeypatch: pytest.MonkeyPatch, stream: Stream
) -> None:
    """A log of a terabyte is a file; in the control plane's database it would be the end of all."""
    monkeypatch.setitem(tail_module.LIMITS, stream, 1000)
    monkeypatch.setattr(tail_module, "BATCH_BYTES", 300)
    file = job.path / tail_module.FILES[stream]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"0123456789abcde\n" * 1000)
    tail = Tail(folder=job, stream=stream)
    taken = b""
    while piece := tail.read():
        taken += piece.data
        tail.position = piece.end
    assert taken == file.read_bytes()[: len(taken)]
    assert 1000 - 16 <= len(taken) <= 1000
    assert tail.trouble_take() == "tail:too_long"
    assert tail.trouble_take() == ""
    file.write_bytes(b"x" * 20_000)
    assert tail.read() is None
    assert tail.trouble_take() == "", "it is told once"


def test_a_job_with_all_of_it_ends(plane: Plane, agent: AgentProcess) -> None:
    script = """
import os
home = os.path.dirname(os.getcwd())
out = home + "/output"
os.makedirs(out + "/v0", exist_ok=True)
open(out.encode() + b"/\\xff\\xfe", "wb").close()
open(out + "/good", "wb").write(b"w")
with open(out + "/sparse", "wb") as file: file.truncate(1 << 40)
os.utime(out + "/good", ns=(2**62, 2**62))
os.link(out + "/good", out + "/good2")
with open(home + "/events.jsonl", "wb") as file: file.write(b"\\xff" * 100000)
print("done")
"""
    plane.send(start_command(1, ["-c", script]))
    ended = plane.wait_whole(1)
    assert ended.exit_code == 0
    manifest = plane.manifests(1)[-1]
    assert {"output/good", "output/good2"} <= {file.path for file in manifest.files}
    assert manifest.skipped == 2
