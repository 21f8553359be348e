"""Which files of a checkpoint end in the middle: cut at every place, none passes for whole."""

import io
import json
import os
import struct
import zipfile
from pathlib import Path

import pytest

from nodeagent.supervisor.closing import Manifests, events_of
from nodeagent.supervisor.wholeness import is_cut
from nodeagent.workspace import JobFolder


def safetensors() -> bytes:
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]},
            "b": {"dtype": "F32", "shape": [2], "data_offsets": [16, 24]},
        }
    ).encode()
    return struct.pack("<Q", len(header)) + header + bytes(24)


def torch_zip() -> bytes:
    """As torch.save writes it: a zip without compression."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02}q\x00.")
        archive.writestr("archive/data/0", os.urandom(300))
    return made.getvalue()


STATE = json.dumps({"global_step": 4, "log_history": [{"loss": 1.0}], "x": {"y": 1}}, indent=2)
FILES = {
    "adapter_model.safetensors": safetensors(),
    "optimizer.pt": torch_zip(),
    "rng_state_0.pth": torch_zip(),
    "training_args.bin": torch_zip(),
    "scheduler.pt": b"\x80\x02}q\x00(X\x01\x00\x00\x00au.",  # torch's older format
    "trainer_state.json": STATE.encode() + b"\n",
    "adapter_config.json": b'{"loss": NaN, "other": -Infinity}',
}


def judge(folder: Path, name: str, data: bytes, *, below: str = "output/checkpoint-4") -> bool:
    path = folder / "file"
    path.write_bytes(data)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return is_cut(descriptor, f"{below}/{name}", len(data))
    finally:
        os.close(descriptor)


BROKEN = [b'{"\xff": 1}', b'{"a": {"b":' + b"[" * 100_000]


def headed(header: bytes) -> bytes:
    """As safetensors has it."""
    return struct.pack("<Q", len(header)) + header


def test_events_that_cannot_be_read_count_for_nothing() -> None:
    lines = [b'{"event": "train_begin"}', *BROKEN, b'{"event": "\xff"}', b'{"event": "stopped"}']
    assert events_of(b"\n".join(lines)) == ["train_begin", "", "", "", "stopped"]


@pytest.mark.parametrize("name", FILES)
def test_a_whole_one_is_whole_and_every_beginning_of_it_is_cut(tmp_path: Path, name: str) -> None:
    data = FILES[name]
    assert not judge(tmp_path, name, data)
    # trainer_state.json may lack its last newline
    ends = range(len(data.rstrip()))
    assert [end for end in ends if not judge(tmp_path, name, data[:end])] == []


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "optimizer.pt", "config.json"])
@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(1000),
        os.urandom(1000),
        b"\xff" * 8,
        b"[" * 100_000,
        *BROKEN,
        *map(headed, BROKEN),
    ],
)
def test_rubbish_is_cut(tmp_path: Path, name: str, data: bytes) -> None:
    assert judge(tmp_path, name, data)


def test_only_files_of_checkpoints_are_judged(tmp_path: Path) -> None:
    for below in ("output", "output/my-checkpoint-4", "output/checkpoint-x"):
        assert not judge(tmp_path, "optimizer.pt", b"", below=below)
    for name in ("README.md", "tokenizer.model", "added.txt"):
        assert not judge(tmp_path, name, b"")


def test_the_manifest_says_it(tmp_path: Path) -> None:
    job = JobFolder(tmp_path / "job")
    job.create()
    folder = job.output / "checkpoint-4"
    folder.mkdir()
    manifests = Manifests()
    for name, data in FILES.items():
        (folder / name).write_bytes(data[:-5] if name == "optimizer.pt" else data)
    cut = [file.path for file in manifests.make(job, complete=False).files if file.is_cut]
    assert cut == ["output/checkpoint-4/optimizer.pt"]
    (folder / "optimizer.pt").write_bytes(FILES["optimizer.pt"])
    assert not any(file.is_cut for file in manifests.make(job, complete=True).files)
