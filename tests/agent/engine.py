"""A Docker engine for tests: the machine's own, or a small private one that a test may end."""

import io
import os
import random
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path

import docker
import docker.errors
import pytest
import requests

from nodeagent.config import SWIFT_IMAGE, Containers
from nodeagent.runtimes.container import LABEL_CLUSTER
from tests.agent.plane import wait_for

IMAGE = os.environ.get("LORAFORGE_SWIFT_IMAGE") or SWIFT_IMAGE
URL = os.environ.get("DOCKER_HOST") or Containers().engine_url


def engine_client() -> docker.APIClient:
    """The machine's engine with the training image; skips where there is none (in CI a failure)."""
    try:
        client = docker.APIClient(base_url=URL, version="auto", timeout=60)
    except docker.errors.DockerException as error:
        pytest.skip(f"no Docker engine answers (python3 tools/engine.py start): {error}")
    try:
        client.inspect_image(IMAGE)  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        pytest.skip(f"the image {IMAGE} is missing (make swift-image)")
    return client


def some_instance() -> int:
    """A number that no other test run on this engine has: the name of a container holds it."""
    return random.randrange(10**6, 10**9) * 2


def containers_remove(client: docker.APIClient, cluster: str) -> None:
    """Remove what a test left on the engine."""
    for found in client.containers(all=True, filters={"label": f"{LABEL_CLUSTER}={cluster}"}):
        client.remove_container(found["Id"], force=True, v=True)


class PrivateEngine:
    """dockerd with a folder of its own, that can be killed and started again; needs root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, live_restore: bool = True) -> docker.APIClient:
        # containerd lives on with the containers when dockerd is killed, as under systemd
        with (self.folder / "dockerd.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *("dockerd", "--host", self.url, "--bridge", "none", "--iptables=false"),
                    *("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"),
                    *("--pidfile", f"{self.folder}/pid", f"--live-restore={live_restore}"),
                ],
                stdout=log,
                stderr=log,
            )
        client: docker.APIClient = wait_for(self._client, what="the private engine")
        return client

    def _client(self) -> docker.APIClient | None:
        try:
            return docker.APIClient(base_url=self.url, version="auto", timeout=20)
        except (docker.errors.DockerException, requests.RequestException):
            return None

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait(10)

    def close(self) -> None:
        """End all of it: containers, dockerd, and its containerd."""
        assert self._process is not None
        if self._process.poll() is not None:
            self.start()
        client = self._client()
        if client is not None:
            for found in client.containers(all=True):
                client.remove_container(found["Id"], force=True)
            client.close()
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)

    def shell_image(self, client: docker.APIClient, tag: str) -> None:
        """An image with a shell, sleep and cat only, made of this machine's own."""
        rootfs = io.BytesIO()
        with tarfile.open(fileobj=rootfs, mode="w", format=tarfile.GNU_FORMAT, dereference=True) as tar:
            added = set()
            for program in ("/bin/sh", "/bin/sleep", "/bin/cat"):
                for path in [program, *_libraries(program)]:
                    if path not in added:
                        tar.add(os.path.realpath(path), path.lstrip("/"))
                        added.add(path)
        client.import_image_from_data(  # type: ignore[no-untyped-call]
            rootfs.getvalue(), repository=tag.split(":")[0], tag=tag.split(":")[1]
        )


def _libraries(program: str) -> list[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for word in listed.split() if word.startswith("/")]


def may_start_engines() -> bool:
    return os.geteuid() == 0 and shutil.which("dockerd") is not None
