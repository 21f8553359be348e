"""A look at the container of a training in `gpu`: what the engine says of it, and what is inside."""

from pathlib import Path
from typing import Any

import docker
import docker.errors
import psutil

from nodeagent.probes.nvml import Nvml
from nodeagent.runtimes import rawgpus
from nodeagent.runtimes.container import LABEL_ERRAND, LABEL_INSTANCE
from tests.agent.engine import IMAGE, URL

HARDENED = {
    "CapDrop": ["ALL"],
    "CapAdd": None,
    "SecurityOpt": ["no-new-privileges:true"],
    "Privileged": False,
    "ReadonlyRootfs": True,
    "NetworkMode": "none",
    "IpcMode": "private",
    "Init": True,
    "AutoRemove": False,
}
# Of the process itself, by the kernel: no capability, none to be had, system calls filtered.
CONFINED = {"CapEff": "0000000000000000", "NoNewPrivs": "1", "Seccomp": "2"}


def box_settings(*, is_cpu: bool) -> dict[str, str]:
    """Of a stack whose node runs jobs in containers, with GPUs by their device nodes."""
    settings = {"LORAFORGE_RUNTIME": "docker", "LORAFORGE_SWIFT_IMAGE": IMAGE}
    return settings if is_cpu else settings | {"LORAFORGE_GPU_MODE": "raw"}


def has_image() -> bool:
    """Whether an engine answers that has the training image."""
    try:
        client = docker.APIClient(base_url=URL, version="auto")
    except docker.errors.DockerException:
        return False
    try:
        client.inspect_image(IMAGE)  # type: ignore[no-untyped-call]
    except docker.errors.ImageNotFound:
        return False
    finally:
        client.close()
    return True


def containers_of(client: docker.APIClient, folder: Path) -> list[dict[str, Any]]:
    """Those that have a part of this folder mounted, by inspect."""
    listed = [
        one
        for label in (LABEL_INSTANCE, LABEL_ERRAND)
        for one in client.containers(all=True, filters={"label": label})
    ]
    found: list[dict[str, Any]] = [client.inspect_container(one["Id"]) for one in listed]
    return [
        one
        for one in found
        if any(Path(mount.get("Source") or "/").is_relative_to(folder) for mount in one["Mounts"])
    ]


def containers_remove(folder: Path) -> None:
    """Of an agent that has ended, which removes nothing itself."""
    client = docker.APIClient(base_url=URL, version="auto")
    try:
        for one in containers_of(client, folder):
            client.remove_container(one["Id"], force=True, v=True)
    finally:
        client.close()


def boxed_command(folder: Path) -> list[str]:
    """Of the trainer in the container of the job in this folder, empty while there is none."""
    client = docker.APIClient(base_url=URL, version="auto")
    try:
        running = [one for one in containers_of(client, folder) if one["State"]["Running"]]
    finally:
        client.close()
    inits = [psutil.Process(one["State"]["Pid"]) for one in running]
    return [word for init in inits for child in init.children() for word in child.cmdline()]


class Box:
    """Knows what this machine has."""

    def __init__(self) -> None:
        nvml = Nvml()
        uuids = [gpu.uuid for gpu in nvml.gpus]
        self._raw = rawgpus.raw_find(uuids, minor=nvml.minor) if uuids else None

    def look(self, folder: Path, held: list[str]) -> tuple[dict[str, Any], list[str]]:
        """What is found of the container of the job in this folder, and what is not as it must be.

        held: the devices that it was given.
        """
        client = docker.APIClient(base_url=URL, version="auto")
        try:
            (container,) = [one for one in containers_of(client, folder) if one["State"]["Running"]]
            version = str(client.version()["Version"])
        finally:
            client.close()
        host, process = container["HostConfig"], Path("/proc") / str(container["State"]["Pid"])
        wrong = [f"{key} is {host[key]}" for key in HARDENED if host[key] != HARDENED[key]]
        status = dict(
            line.split(":\t", 1) for line in (process / "status").read_text().splitlines()
        )
        wrong += [f"{key} is {status[key]}" for key in CONFINED if status[key] != CONFINED[key]]
        if status["Uid"].split() != container["Config"]["User"].split(":")[:1] * 4:
            wrong.append(f"it runs as {status['Uid']}")
        found = {
            "engine": version,
            "user": container["Config"]["User"],
            "devices": sorted(one["PathOnHost"] for one in host["Devices"] or []),
            "nodes_inside": sorted(str(node) for node in _nodes_inside(process / "root")),
            "driver": sorted(
                Path(mount["Destination"]).name
                for mount in container["Mounts"]
                if mount["Destination"].startswith(f"{rawgpus.FOLDER}/") and not mount["RW"]
            ),
        }
        return found, wrong + self._wrong_nodes(found, held)

    def _wrong_nodes(self, found: dict[str, Any], held: list[str]) -> list[str]:
        """Of the GPUs it has those that it holds, and nothing of others."""
        if self._raw is None:
            return [f"it has {found['devices']}"] if found["devices"] else []
        wanted = sorted([*(self._raw.nodes[uuid] for uuid in held), *self._raw.common])
        wrong = [
            f"{what} are {found[what]}, not {wanted}"
            for what in ("devices", "nodes_inside")
            if found[what] != wanted
        ]
        if found["driver"] != sorted(self._raw.libraries):
            wrong.append(f"libraries are {found['driver']}, not {sorted(self._raw.libraries)}")
        return wrong


def _nodes_inside(root: Path) -> list[Path]:
    return [
        Path("/") / path.relative_to(root)
        for path in (root / "dev").rglob("nvidia*")
        if path.is_char_device()
    ]
