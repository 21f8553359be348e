"""Images that are not on the node yet: with a registry that breaks off, and with a real one."""

import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import docker.errors
import httpx
import msgspec
import pytest

from nodeagent.runtimes.base import RuntimeFault
from nodeagent.runtimes.pulling import PullBroken, image_pull
from tests.agent.engine import engine_client
from tests.agent.plane import wait_for
from tests.agent.test_runtimes import Bench

LAYER_BYTES = 24_000_000  # several progress lines of the engine

BEGUN = {"id": "a", "status": "Downloading", "progressDetail": {"current": 3, "total": 10}}
DONE = {"id": "a", "status": "Pull complete"}


class Registry:
    """The engine's answers, one list a try; an exception in it is raised there."""

    def __init__(self, *answers: list[Any]) -> None:
        self.answers = list(answers)
        self.said: list[tuple[int, int]] = []

    def lines(self) -> Iterator[Any]:
        for line in self.answers.pop(0):
            if isinstance(line, Exception):
                raise line
            yield line

    def say(self, *, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None:
        assert "lf-test" in detail
        self.said.append((done_bytes, total_bytes))

    def pull(self, *, cancelled: Any = lambda: False) -> None:
        image_pull(
            "lf-test:1", lines=self.lines, say=self.say, cancelled=cancelled, again_after_s=0.0
        )


def test_a_pull_that_breaks_off_is_tried_again() -> None:
    registry = Registry([BEGUN, {"error": "unexpected EOF"}], [BEGUN, DONE])
    registry.pull()
    assert registry.said == [(3, 10), (3, 10), (10, 10)]


@pytest.mark.parametrize(
    "said", ["manifest unknown", "pull access denied", "no space left on device"]
)
def test_what_the_registry_will_say_again_is_not_asked_again(said: str) -> None:
    registry = Registry([PullBroken(said)], [DONE])
    with pytest.raises(RuntimeFault) as caught:
        registry.pull()
    assert caught.value.reason == "image:missing"
    assert said in caught.value.detail
    assert len(registry.answers) == 1


def test_a_registry_that_stays_away_ends_it() -> None:
    registry = Registry(*[[{"error": "connection refused"}]] * 5)
    with pytest.raises(RuntimeFault, match="connection refused"):
        registry.pull()
    assert registry.answers == []


def test_a_cancelled_pull_asks_no_more() -> None:
    registry = Registry([BEGUN, DONE], [DONE])
    registry.pull(cancelled=lambda: bool(registry.said))
    assert registry.said == [(3, 10)]


class Cut:
    """A way to the registry that carries so many bytes, then breaks; none = all."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.left: int | None = None
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"localhost:{self._server.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _address = self._server.accept()
            except OSError:
                return
            try:
                behind = socket.create_connection(("127.0.0.1", self.port))
            except OSError:
                client.close()
                continue
            for pair in ((client, behind, False), (behind, client, True)):
                threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket, is_counted: bool) -> None:
        try:
            while data := source.recv(65_536):
                if is_counted and self.left is not None:
                    self.left -= len(data)
                    if self.left < 0:
                        break
                target.sendall(data)
        except OSError:
            pass  # the other direction ended it
        for end in (source, target):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # ended already


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Cut]:
    """Debian's docker-registry on a port of its own, behind a way that can break."""
    if shutil.which("docker-registry") is None:
        pytest.skip("no docker-registry (apt install docker-registry)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = tmp_path / "registry.yml"
    config.write_text(
        f"version: 0.1\nstorage:\n  filesystem:\n    rootdirectory: {tmp_path}/registry\n"
        f"http:\n  addr: 127.0.0.1:{port}\nlog:\n  level: error\n"
    )
    process = subprocess.Popen(["docker-registry", "serve", str(config)])
    wait_for(lambda: _answers(port), what="the registry")
    cut = Cut(port)
    yield cut
    cut.close()
    process.terminate()
    process.wait(10)


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/").is_success
    except httpx.HTTPError:
        return False


def _image_push(engine: docker.APIClient, image: str, folder: Path) -> None:
    """A small image of two layers, in the registry and no longer on the engine."""
    folder.mkdir()
    for name in ("one", "two"):
        with (folder / name).open("wb") as file, Path("/dev/urandom").open("rb") as source:
            file.write(source.read(LAYER_BYTES))
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY one /one\nCOPY two /two\n")
    for line in engine.build(path=str(folder), tag=image, rm=True, decode=True):
        assert "error" not in line, line
    for line in engine.push(image, stream=True, decode=True):
        assert "error" not in line, line
    engine.remove_image(image)


@pytest.mark.docker
@pytest.mark.timeout(180)
def test_a_pull_from_a_registry_that_is_cut_once(tmp_path: Path, registry: Cut) -> None:
    engine = engine_client()
    image = f"{registry.address}/lf-test/pulled:1"
    _image_push(engine, image, tmp_path / "context")
    bench = Bench("docker", tmp_path / "bench")
    containers = msgspec.structs.replace(bench.settings.containers, images=(image,))
    bench.settings = msgspec.structs.replace(bench.settings, containers=containers)
    bench.runtime = bench.new_runtime()
    said: list[tuple[int, int]] = []
    cuts: list[int] = []

    def say(*, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None:
        assert image in detail
        said.append((done_bytes, total_bytes))
        if registry.left is not None and registry.left < 0:
            registry.left = None  # the way is whole again
            cuts.append(done_bytes)

    registry.left = LAYER_BYTES + LAYER_BYTES // 2
    try:
        bench.runtime.prepare(image, say=say, cancelled=lambda: False)
        assert cuts, "the way was never cut"
        assert engine.inspect_image(image)["Id"]  # type: ignore[no-untyped-call]
        assert any(0 < done < total for done, total in said), "no progress was told"
        assert said[-1][0] == said[-1][1] >= 2 * LAYER_BYTES
    finally:
        bench.runtime.close()
        engine.remove_image(image)
