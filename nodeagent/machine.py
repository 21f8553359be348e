"""This machine as a node: what it has, how it can run jobs, what it says of itself at joining."""

import socket
import time
from pathlib import Path

import psutil

import nodeagent
from nodeagent.config import Settings
from nodeagent.contract.joining import JoinRequest
from nodeagent.probes.host import boot_id, host_sample, memory_total_bytes
from nodeagent.probes.nvml import Nvml
from nodeagent.runtimes.choice import engine_choose
from nodeagent.runtimes.rawgpus import raw_find
from nodeagent.supervisor.gpucheck import unchecked

SWIFT_LABEL = "lf.swift"  # of a training image: the version of ms-swift in it


class Node:
    """What this machine is, as the control plane is told."""

    def __init__(self, settings: Settings, sock: socket.socket, agent_id: str) -> None:
        self.settings = settings
        self.sock = sock
        self.agent_id = agent_id
        self.nvml = Nvml()
        self.slots = settings.slots(gpus=len(self.nvml.gpus))
        uuids = [gpu.uuid for gpu in self.nvml.gpus]
        self.raw = raw_find(uuids, minor=self.nvml.minor) if uuids else None
        self.engine = engine_choose(settings, has_gpus=bool(uuids), raw=self.raw)
        port = sock.getsockname()[1]
        host = settings.listen_host
        if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
            host = socket.getfqdn()
        self.file_url = settings.advertise or f"http://{host}:{port}"

    @property
    def devices(self) -> set[str]:
        return {gpu.uuid for gpu in self.nvml.gpus} | {f"cpu-{n}" for n in range(self.slots)}

    @property
    def warnings(self) -> list[str]:
        if self.engine is None:
            plain = "Jobs run as plain processes with all that the agent's user may do."
            return [plain, *self.nvml.silent]
        return [*self.engine.findings.warnings, *self.nvml.silent]

    @property
    def gpu_mode(self) -> str:
        """How jobs get GPUs; plain processes are told by a variable which they may use."""
        if not self.nvml.gpus:
            return ""
        return self.engine.findings.gpus if self.engine else "plain"

    @property
    def checked_in(self) -> str:
        """What a CUDA check holds for; another boot, driver or training environment is another matter."""
        settings = self.settings
        where = settings.containers.images[0] if self.engine else str(settings.swift_python)
        known = (boot_id(), self.nvml.driver_version, self.gpu_mode, where, self.swift_version)
        return " ".join(known)

    @property
    def swift_version(self) -> str:
        if self.engine is None:
            return swift_version(self.settings.swift_python)
        return self.engine.image_label(self.settings.containers.images[0], SWIFT_LABEL)

    def join_request(self) -> JoinRequest:
        settings = self.settings
        host = host_sample(settings.folder)
        return JoinRequest(
            node=settings.name,
            boot_id=boot_id(),
            agent_version=nodeagent.__version__,
            runtime="docker" if self.engine else "process",
            hostname=socket.gethostname(),
            file_url=self.file_url,
            clock=time.time(),
            cpu_count=psutil.cpu_count() or 1,
            memory_bytes=memory_total_bytes(),
            disk_total_bytes=host.disk_total_bytes,
            disk_free_bytes=host.disk_free_bytes,
            gpus=[unchecked(gpu) for gpu in self.nvml.gpus],
            cpu_slots=self.slots,
            model_roots=[str(root) for root in settings.model_roots],
            driver_version=self.nvml.driver_version,
            swift_version=self.swift_version,
            engine_version=self.engine.findings.version if self.engine else "",
            warnings=self.warnings,
            gpu_mode=self.gpu_mode,
            agent_id=self.agent_id,
        )


def swift_version(python: Path) -> str:
    """Version of ms-swift in the training environment, by its metadata; empty when it is not there."""
    for folder in python.parent.parent.glob("lib/python3*/site-packages/ms_swift-*.dist-info"):
        return folder.name.removeprefix("ms_swift-").removesuffix(".dist-info")
    return ""
