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
    """dockerd over its own containerd, as under systemd; dockerd can be killed and started. Needs root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/docker.sock"
        self._address = f"{folder}/containerd.sock"
        config = folder / "containerd.toml"
        config.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
        places = ["--root", f"{folder}/root", "--state", f"{folder}/state"]
        self._containerd = self._spawn(
            "containerd", "--config", str(config), "--address", self._address, *places
        )
        wait_for(Path(self._address).exists, what="containerd's socket")
        self._dockerd: subprocess.Popen[bytes] | None = None

    def _spawn(self, *command: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            return subprocess.Popen(command, stdout=log, stderr=log)

    def start(self, *, live_restore: bool = True) -> docker.APIClient:
        self._dockerd = self._spawn(
            # in a network of its own: an engine told to have no bridge removes the machine's docker0
            *("unshare", "--net", "dockerd", "--host", self.url, "--containerd", self._address),
            *("--bridge", "none", "--iptables=false", f"--live-restore={live_restore}"),
            *("--data-root", f"{self.folder}/data", "--exec-root", f"{self.folder}/exec"),
            *("--pidfile", f"{self.folder}/dockerd.pid"),
        )
        client: docker.APIClient = wait_for(self._client, what="the private engine")
        return client

    def _client(self) -> docker.APIClient | None:
        try:
            return docker.APIClient(base_url=self.url, version="auto", timeout=20)
        except (docker.errors.DockerException, requests.RequestException):
            return None

    def kill(self) -> None:
        assert self._dockerd is not None
        self._dockerd.kill()
        self._dockerd.wait(10)

    def close(self) -> None:
        """End all of it: containers, dockerd, containerd, and the mounts that a kill leaves."""
        client = self._client()
        if client is not None:
            for found in client.containers(all=True):
                client.remove_container(found["Id"], force=True)
            client.close()
        for process in (self._dockerd, self._containerd):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
        for mounted in reversed(Path("/proc/self/mounts").read_text().splitlines()):
            place = mounted.split()[1]
            if place.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "--lazy", place], check=True)

    def shell_image(self, client: docker.APIClient, tag: str) -> None:
        """An image with a shell, sleep and cat only, made of this machine's own."""
        rootfs = io.BytesIO()
        with tarfile.open(
            fileobj=rootfs, mode="w", format=tarfile.GNU_FORMAT, dereference=True
        ) as tar:
            added = set()
            for program in ("/bin/sh", "/bin/sleep", "/bin/cat"):
                for path in [program, *_libraries(program)]:
                    if path not in added:
                        tar.add(os.path.realpath(path), path.lstrip("/"))
                        added.add(path)
        repository, number = tag.split(":")
        client.import_image_from_data(rootfs.getvalue(), repository=repository, tag=number)


def _libraries(program: str) -> list[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return [word for word in listed.split() if word.startswith("/")]


def may_start_engines() -> bool:
    return os.geteuid() == 0 and shutil.which("dockerd") is not None
