"""The safe open, and what is built on it: nothing that a job plants is followed or hangs a reader."""

import os
import socket
from pathlib import Path

import pytest

from nodeagent.contract.phases import Outcome
from nodeagent.supervisor.closing import Manifests, outcome_read
from nodeagent.tail import BATCH_BYTES, Tail
from nodeagent.workspace import JobFolder, UnsafePath, Workspace, open_below, opened

pytestmark = pytest.mark.timeout(10)  # a reader that hangs on a FIFO must fail, not wait


@pytest.fixture
def job(tmp_path: Path) -> JobFolder:
    folder = Workspace(tmp_path / "node").job(1, 1)
    folder.create()
    return folder


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "shadow").write_text("secret")
    return folder


def test_a_regular_file_is_opened(job: JobFolder) -> None:
    (job.output / "deep").mkdir()
    (job.output / "deep/er.txt").write_bytes(b"abc")
    with opened(job.path, "output/deep/er.txt") as descriptor:
        assert os.read(descriptor, 9) == b"abc"


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "..", "output/../../x", "output//x", "./output", "a\x00b"]
)
def test_paths_that_could_lead_out(job: JobFolder, path: str) -> None:
    with pytest.raises(UnsafePath):
        open_below(job.path, path)


def test_a_link_in_the_last_place(job: JobFolder, secret: Path) -> None:
    (job.path / "console.log").symlink_to(secret / "shadow")
    with pytest.raises(UnsafePath):
        job.open("console.log")


def test_a_link_on_the_way(job: JobFolder, secret: Path) -> None:
    job.output.rmdir()
    job.output.symlink_to(secret)
    with pytest.raises(UnsafePath):
        job.open("output/shadow")


def test_fifo_socket_folder_device(job: JobFolder) -> None:
    os.mkfifo(job.output / "fifo")
    with socket.socket(socket.AF_UNIX) as server:
        before = Path.cwd()
        os.chdir(job.output)  # the path of a socket may have some 100 bytes only
        try:
            server.bind("socket")
        finally:
            os.chdir(before)
        for name in ("fifo", "socket", ""):
            with pytest.raises(UnsafePath):
                job.open(f"output/{name}".rstrip("/"))


def test_no_descriptor_leaks(job: JobFolder, secret: Path) -> None:
    os.mkfifo(job.output / "fifo")
    (job.output / "link").symlink_to(secret)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for path in ("output/fifo", "output/link/shadow", "output/none", "console.log") * 5:
        with pytest.raises((UnsafePath, FileNotFoundError)):
            job.open(path)
    job.walk()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_the_manifest_counts_what_it_skips(job: JobFolder, secret: Path) -> None:
    (job.path / "console.log").write_bytes(b"hello")
    (job.output / "weights").write_bytes(b"w")
    (job.output / "last").symlink_to("weights")
    (job.output / "out").symlink_to(secret)
    os.mkfifo(job.output / "fifo")
    os.mkfifo(job.path / "events.jsonl")
    made = Manifests().make(job, complete=True)
    assert [file.path for file in made.files] == ["console.log", "output/weights"]
    assert made.skipped == 4


def test_a_changed_file_is_hashed_anew(job: JobFolder) -> None:
    manifests = Manifests()
    (job.output / "w").write_bytes(b"1")
    first = manifests.make(job, complete=False).files[0].sha256
    (job.output / "w").write_bytes(b"2")
    os.utime(job.output / "w", ns=(1, 1))
    assert manifests.make(job, complete=False).files[0].sha256 != first


def test_removal_does_not_follow_links(tmp_path: Path, job: JobFolder, secret: Path) -> None:
    (job.output / "out").symlink_to(secret)
    workspace = Workspace(tmp_path / "node")
    workspace.discard(1, up_to=1)
    workspace.trash_empty()
    assert (secret / "shadow").exists()
    assert workspace.attempts() == []


@pytest.mark.parametrize(
    ("lines", "outcome"),
    [
        (b"", Outcome.NONE),
        (b'{"event": "log"}\n{"event": "train_end"}\n', Outcome.TRAIN_END),
        (b'{"event": "train_end"}\n{"event": "stopped"}\nrubbish\n{"event"', Outcome.STOPPED),
        (b'{"event": 7}\n\xff\xfe\n[]\n', Outcome.NONE),
    ],
)
def test_the_last_closing_event_counts(job: JobFolder, lines: bytes, outcome: Outcome) -> None:
    (job.path / "events.jsonl").write_bytes(lines)
    assert outcome_read(job) is outcome


def test_events_behind_a_fifo_are_no_outcome(job: JobFolder) -> None:
    os.mkfifo(job.path / "events.jsonl")
    assert outcome_read(job) is Outcome.NONE


# -- tail


def read_all(tail: Tail) -> bytes:
    data = b""
    while (piece := tail.read()) is not None:
        assert piece.end - piece.start == len(piece.data)
        data += piece.data
        tail.position = piece.end
    return data


def test_tail_follows_a_file_that_comes_later(job: JobFolder) -> None:
    tail = Tail(folder=job, stream="log")
    assert tail.read() is None
    console = job.path / "console.log"
    console.write_bytes(b"abc")
    tail.look_again()
    assert read_all(tail) == b"abc"
    with console.open("ab") as more:
        more.write(b"x" * (BATCH_BYTES + 10))
    piece = tail.read()
    assert piece is not None
    assert (piece.start, len(piece.data)) == (3, BATCH_BYTES)
    tail.close()


def test_tail_goes_back_when_told(job: JobFolder) -> None:
    (job.path / "console.log").write_bytes(b"0123456789")
    tail = Tail(folder=job, stream="log", position=4)
    assert read_all(tail) == b"456789"
    tail.position = 1
    assert read_all(tail) == b"123456789"


def test_metrics_come_in_whole_lines(job: JobFolder) -> None:
    path = job.output / "logging.jsonl"
    path.write_bytes(b'{"a": 1}\n{"b"')
    tail = Tail(folder=job, stream="metric")
    assert read_all(tail) == b'{"a": 1}\n'
    with path.open("ab") as more:
        more.write(b": 2}\n" + b"y" * (3 * BATCH_BYTES) + b"\nz")
    assert read_all(tail) == b'{"b": 2}\n' + b"y" * (3 * BATCH_BYTES) + b"\n"
    tail.close()


def test_a_file_that_shrinks_is_told_once(job: JobFolder) -> None:
    console = job.path / "console.log"
    console.write_bytes(b"0123456789")
    tail = Tail(folder=job, stream="log")
    assert read_all(tail) == b"0123456789"
    os.truncate(console, 3)
    assert tail.read() is None
    assert tail.trouble_take() == "tail:file_shrank"
    assert tail.read() is None
    assert tail.trouble_take() == ""
    with console.open("ab") as more:
        more.write(b"abcdefghij")
    assert read_all(tail) == b"hij"


def test_a_file_that_is_replaced_is_told(job: JobFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeagent.tail.CHECK_PATH_S", 0.0)
    console = job.path / "console.log"
    console.write_bytes(b"old")
    tail = Tail(folder=job, stream="log")
    assert read_all(tail) == b"old"
    console.rename(job.path / "console.log.1")
    console.write_bytes(b"newer")
    assert tail.read() is None
    assert tail.trouble_take() == "tail:file_replaced"
    assert read_all(tail) == b"er"


def test_tail_refuses_links_and_fifos(job: JobFolder, secret: Path) -> None:
    (job.path / "console.log").symlink_to(secret / "shadow")
    os.mkfifo(job.path / "events.jsonl")
    for stream in ("log", "event"):
        tail = Tail(folder=job, stream=stream)
        assert tail.read() is None
        assert tail.trouble_take() == "tail:unsafe_file"
