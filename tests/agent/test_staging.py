"""What a start to come will need is had beforehand: from the other node, else from the control plane."""

import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeagent.contract.commands import Input, Mount, Peer, Stage
from nodeagent.contract.reports import Staged, staged_digest
from nodeagent.supervisor.staging import Staging
from nodeagent.transfer.inputs import Fetcher
from tests.control.webserver import wait_until

DATA = b"weights" * 1000


class Origin:
    """Serves one body with Range, and remembers who was asked how."""

    def __init__(self) -> None:
        self.body = DATA
        self.asked: list[tuple[str, str, str]] = []
        origin = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                said = self.headers
                origin.asked.append((self.path, said["Authorization"] or "", said["Range"] or ""))
                begin = int((said["Range"] or "bytes=0-")[6:].rstrip("-"))
                body = origin.body[begin:]
                self.send_response(206 if begin else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_words: Any) -> None:
                """In silence."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def plane() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture
def other() -> Iterator[Origin]:
    origin = Origin()
    yield origin
    origin.close()


@pytest.fixture
def staging(plane: Origin, tmp_path: Path) -> Staging:
    fetcher = Fetcher(server=plane.url, token="lfn_mine", cache=tmp_path / "cache", retry_s=0.01)
    unused: Any = None
    return Staging(fetcher=fetcher, hub=unused, runtime=unused, model_roots=(tmp_path,))


def stage(peer: str = "", **facts: Any) -> Stage:
    wanted = Input(
        target="/lf/inputs/checkpoint-4/optimizer.pt",
        url="/plane",
        sha256=hashlib.sha256(DATA).hexdigest(),
        size_bytes=len(DATA),
        peer=Peer(url=f"{peer}/peer", token="for-this-file") if peer else None,
    )
    return Stage(**{"id": "stage-m1-1-4", "inputs": [wanted], **facts})


def outcome(staging: Staging, command: Stage) -> Staged:
    """Once it has ended, either way."""
    staging.take(command)
    wait_until(lambda: bool(staging.told()[-1].digest or staging.told()[-1].error))
    return staging.told()[-1]


def test_the_other_node_is_asked_and_gets_no_token_but_its_own(
    staging: Staging, plane: Origin, other: Origin
) -> None:
    told = outcome(staging, stage(other.url))
    assert told.digest == staged_digest([hashlib.sha256(DATA).hexdigest()])
    assert (told.done_bytes, told.total_bytes) == (len(DATA), len(DATA))
    assert other.asked == [("/peer", "Bearer for-this-file", "")]
    assert plane.asked == []
    staging.take(stage(other.url))
    assert len(other.asked) == 1, "the same again is nothing"


def test_what_the_other_node_has_not_the_control_plane_has(
    staging: Staging, plane: Origin, other: Origin
) -> None:
    other.body = b"others!" * 1000
    assert outcome(staging, stage(other.url)).digest
    assert [path for path, *_rest in plane.asked] == ["/plane"]
    assert plane.asked[0][1] == "Bearer lfn_mine"


def test_a_node_that_cannot_be_reached_is_no_trouble(staging: Staging, plane: Origin) -> None:
    assert outcome(staging, stage("http://127.0.0.1:1")).digest
    assert [path for path, *_rest in plane.asked] == ["/plane"]


def test_it_goes_on_where_the_bytes_end(staging: Staging, plane: Origin, tmp_path: Path) -> None:
    part = tmp_path / "cache" / "inputs" / f"{hashlib.sha256(DATA).hexdigest()}.part"
    part.write_bytes(DATA[:3000])
    assert outcome(staging, stage()).digest
    assert plane.asked == [("/plane", "Bearer lfn_mine", "bytes=3000-")]


def test_other_bytes_are_told_and_a_second_try_may_succeed(staging: Staging, plane: Origin) -> None:
    plane.body = b"others!" * 1000
    assert outcome(staging, stage()).error == "input:hash_mismatch"
    plane.body = DATA
    staging.take(stage())
    wait_until(lambda: bool(staging.told()[-1].digest))


def test_a_model_folder_that_is_not_there_is_told_before_anything_is_stopped(
    staging: Staging, plane: Origin, tmp_path: Path
) -> None:
    wanted = stage(mounts=[Mount(target="/lf/model", path=str(tmp_path / "none"))])
    assert outcome(staging, wanted).error == "model:not_found"
    assert plane.asked == []
