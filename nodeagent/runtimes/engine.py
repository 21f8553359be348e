"""A Docker engine: found, judged, asked. With docker.py the one door to Docker."""

import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import docker
import docker.errors
import docker.types
import requests

from nodeagent.runtimes.base import RuntimeAway
from nodeagent.runtimes.preflight import EngineRefused, Findings, GpuWays, engine_judge

CALL_TIMEOUT_S = 60


@contextmanager
def asking() -> Iterator[None]:
    """Trouble on the way to the engine is no answer of the engine."""
    try:
        yield
    except requests.RequestException as error:
        raise RuntimeAway(f"The Docker engine does not answer ({type(error).__name__}).") from error
    except docker.errors.APIError as error:
        if error.is_server_error() and "shutting down" in str(error.explanation):
            raise RuntimeAway("The Docker engine is shutting down.") from error
        raise


class Engine:
    """A Docker engine on a unix socket that passed the preflight."""

    def __init__(self, client: docker.APIClient, findings: Findings) -> None:
        self.api = client
        self.findings = findings

    def image_label(self, image: str, label: str) -> str:
        """A label of an image that is here, else the empty string."""
        try:
            found = self.api.inspect_image(image)  # type: ignore[no-untyped-call]
        except (docker.errors.APIError, requests.RequestException):
            return ""
        return str((found["Config"].get("Labels") or {}).get(label, ""))


def engine_open(*, url: str, gpu_ways: GpuWays | None) -> Engine:
    """Connect and judge. gpu_ways: None where the node offers no GPUs. Raises EngineRefused."""
    if not url.startswith("unix://"):
        raise EngineRefused(
            f"DOCKER_HOST is {url}: only a unix socket is used, since whoever reaches an engine is root."
        )
    try:
        client = docker.APIClient(base_url=url, version="auto", timeout=CALL_TIMEOUT_S)
        version, info = client.version(), client.info()
    except (docker.errors.DockerException, requests.RequestException) as error:
        raise EngineRefused(
            f"No Docker engine answers at {url} ({error}). Start it, and let the agent's user into "
            "the group docker."
        ) from error
    findings = engine_judge(version=version, info=info, gpu_ways=gpu_ways, disk=_disk(info))
    return Engine(client, findings)


def _disk(info: dict[str, Any]) -> tuple[int, int] | None:
    try:
        usage = shutil.disk_usage(str(info.get("DockerRootDir", "")))
    except OSError:
        return None  # the agent runs in a container and does not see the engine's folder
    return usage.free, usage.total


class Events:
    """A client of its own for the events, which are waited for without a limit."""

    def __init__(self, url: str) -> None:
        self._api = docker.APIClient(base_url=url, version="auto")
        self._stream: docker.types.CancellableStream[dict[str, Any]] | None = None

    def events(self, filters: dict[str, Any]) -> Iterable[dict[str, Any]]:
        self._stream = self._api.events(filters=filters, decode=True)
        return self._stream

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._api.close()
