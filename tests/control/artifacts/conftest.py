"""A node with a real file service, and a job whose files lie there."""

import hashlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.artifacts.services import manifest_store
from loraforge.instances.models import Attempt, Instance
from loraforge.nodelink.tokens import file_key
from loraforge.nodes.models import Node
from nodeagent.contract.reports import File
from nodeagent.files import FileService
from nodeagent.workspace import JobFolder, Workspace
from tests.control.webserver import wait_until

FILES = {
    "console.log": b"line 1\nline 2\n",
    "output/args.json": b"{}",
    "output/checkpoint-6/adapter_model.safetensors": os.urandom(3_000_000),
    "output/checkpoint-6/trainer_state.json": b'{"best_model_checkpoint": null}',
    "output/checkpoint-12/adapter_model.safetensors": os.urandom(1_000_001),
    "output/checkpoint-12/adapter_config.json": b"{}",
    "output/checkpoint-12/optimizer.pt": os.urandom(1000),
    "output/checkpoint-12/trainer_state.json": (
        b'{"best_metric": 0.5, "best_model_checkpoint": "/lf/job/output/checkpoint-6", "log_history": [1]}'
    ),
    "output/模型 卡&?#%.md": "说明".encode(),
}


def manifest_of(files: dict[str, bytes]) -> list[File]:
    return [
        File(
            path=path,
            size_bytes=len(data),
            sha256=hashlib.sha256(data).hexdigest(),
            modified_at=1.7e9,
        )
        for path, data in files.items()
    ]


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(tmp_path)


@pytest.fixture
def node(db: None, workspace: Workspace) -> Iterator[Node]:
    """Joined, with its file service running in a thread."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(32)
    node = Node.objects.create(
        name="n1",
        token_digest=Node.digest_of("lfn_n1"),
        joined_at=timezone.now(),
        file_url=f"http://127.0.0.1:{listener.getsockname()[1]}",
    )
    service = FileService(workspace=workspace, key=file_key(node), sock=listener)
    service.start()
    wait_until(lambda: service._server.started)
    yield node
    service.stop()


def put(folder: JobFolder, files: dict[str, bytes]) -> None:
    folder.create()
    for path, data in files.items():
        target = folder.path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)


@pytest.fixture
def attempt(alice: User, node: Node, workspace: Workspace) -> Attempt:
    """An ended attempt with FILES and their manifest."""
    instance = Instance.objects.create(
        owner=alice, name="job", attempt=1, state="succeeded", node=node
    )
    attempt = Attempt.objects.create(
        instance=instance, number=1, node=node, ended_at=timezone.now()
    )
    put(workspace.job(instance.pk, 1), FILES)
    manifest_store(attempt=attempt, files=manifest_of(FILES), complete=True)
    return attempt
