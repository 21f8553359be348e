"""Inputs that an earlier attempt left on the same node: taken from its folder, verified, else fetched."""

import hashlib
import os
from pathlib import Path

import pytest

from nodeagent.contract.commands import Input, Source
from nodeagent.transfer.inputs import Fetcher, TransferCancelled, TransferFault
from nodeagent.workspace import JobFolder, Workspace
from tests.agent.plane import TOKEN, Plane

pytestmark = pytest.mark.redis

DATA = os.urandom(2_500_000)
PATH = "output/checkpoint-4/optimizer.pt"
URL = "/api/v1/agent/inputs/files/x/"


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path / "node")


@pytest.fixture
def left(workspace: Workspace) -> Path:
    """Where attempt 1 left the file."""
    file = workspace.job(7, 1).path / PATH
    file.parent.mkdir(parents=True)
    file.write_bytes(DATA)
    return file


@pytest.fixture
def folder(workspace: Workspace) -> JobFolder:
    found = workspace.job(7, 2)
    found.create()
    return found


@pytest.fixture
def fetcher(plane: Plane, workspace: Workspace, tmp_path: Path) -> Fetcher:
    plane.inputs[URL] = DATA
    return Fetcher(
        server=plane.url, token=TOKEN, cache=tmp_path / "cache", workspace=workspace, retry_s=0.01
    )


def wanted() -> Input:
    return Input(
        target="/lf/inputs/checkpoint-4/optimizer.pt",
        url=URL,
        sha256=hashlib.sha256(DATA).hexdigest(),
        size_bytes=len(DATA),
        source=Source(instance=7, attempt=1, path=PATH),
    )


def place(fetcher: Fetcher, folder: JobFolder) -> Path:
    fetcher.place(wanted(), folder, cancelled=lambda: False)
    return folder.inputs / "checkpoint-4" / "optimizer.pt"


def test_it_is_copied_without_the_network(
    plane: Plane, fetcher: Fetcher, folder: JobFolder, left: Path
) -> None:
    target = place(fetcher, folder)
    assert target.read_bytes() == DATA
    assert plane.requests == []
    assert target.stat().st_ino != left.stat().st_ino, "what was left must stay as it is"


@pytest.mark.parametrize("fault", ["changed", "shorter", "longer", "gone", "link", "fifo"])
def test_what_is_not_the_same_any_more_is_fetched(
    plane: Plane, fetcher: Fetcher, folder: JobFolder, left: Path, fault: str
) -> None:
    left.unlink()
    if fault == "link":
        (left.parent / "elsewhere").write_bytes(DATA)
        left.symlink_to(left.parent / "elsewhere")
    elif fault == "fifo":
        os.mkfifo(left)
    elif fault != "gone":
        left.write_bytes(
            {"changed": bytes(len(DATA)), "shorter": DATA[:-1]}.get(fault, DATA + b"x")
        )
    target = place(fetcher, folder)
    assert target.read_bytes() == DATA
    # the announced bytes are there, so a file that has grown is no reason to fetch
    assert len(plane.requests) == (0 if fault == "longer" else 1)


def test_a_path_that_leads_out_is_not_opened(fetcher: Fetcher, folder: JobFolder) -> None:
    crooked = Input(
        target="/lf/inputs/x",
        url="/nothing",
        sha256=hashlib.sha256(DATA).hexdigest(),
        size_bytes=len(DATA),
        source=Source(instance=7, attempt=1, path="../../../../etc/passwd"),
    )
    with pytest.raises(TransferFault) as caught:
        fetcher.place(crooked, folder, cancelled=lambda: False)
    assert caught.value.reason == "input:not_found"


def test_a_stop_leaves_nothing_half_copied(fetcher: Fetcher, folder: JobFolder, left: Path) -> None:
    with pytest.raises(TransferCancelled):
        fetcher.place(wanted(), folder, cancelled=lambda: True)
    assert not (folder.inputs / "checkpoint-4" / "optimizer.pt").exists()
