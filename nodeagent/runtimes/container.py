"""What a job's container is: the engine's own JSON for it, made from a launch and this node's policy.

Pure, so that the whole hardening can be read and tested in one place. Source of the names: Docker
Engine API 1.41, ContainerCreate.
"""

from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec

from nodeagent.contract import paths
from nodeagent.runtimes import rawgpus
from nodeagent.runtimes.base import Errand, Launch, RuntimeFault
from nodeagent.runtimes.rawgpus import RawGpus

JOB = str(PurePosixPath(paths.OUTPUT).parent)
HOME = "/lf/home"
CACHES = f"{JOB}/tmp"  # noqa: S108 - on disk, and the job's own
# torch on a GPU asks for its user's name; an image need not know whom jobs run as
NAMED = {"USER": "trainer", "LOGNAME": "trainer"}
LABEL_CLUSTER = "lf.cluster"
LABEL_NODE = "lf.node"
LABEL_INSTANCE = "lf.instance"
LABEL_ATTEMPT = "lf.attempt"
LABEL_SPEC = "lf.spec"
LABEL_DEVICES = "lf.devices"
LABEL_ERRAND = "lf.errand"  # and none of the others, which say that it is a job
MIB = 1024**2
GIB = 1024**3
# The kernel takes a job before the agent, the engine or the control plane.
OOM_SCORE = 500
NO_LIMIT = -1
ERRAND_PIDS = 256
ERRAND_MEMORY_BYTES = 4 * GIB
MASTER_PORT = 29_500  # free for sure: each container has a network of its own

# The console goes to a file of the job, never into a pipe that somebody must read (design law 3). `exec`
# leaves no shell between init and the trainer, so that signals reach it.
ENTRYPOINT = ["/bin/sh", "-c", f'exec "$@" >>{JOB}/{paths.CONSOLE_FILE} 2>&1', "sh"]

GpuMode = Literal["none", "nvidia", "cdi", "raw"]


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """What every job on this node gets and may not exceed.

    uid, gid: never 0. images: references that may run, the first where a launch names none.
    memory_bytes, cpus: for each device of the job; max_cpus: for all of them together. tmp_bytes: /tmp
    and HOME, each; in memory, within its limit.
    network: for jobs that say that they need one; "none", or the name of one that the operator made; all
    others have none. fetch_network: for what fetches models and datasets beforehand. hub_env: addresses
    of model hubs, for that alone. gpus: how devices reach a container;
    raw: what is given for it where that is "raw".
    python: the interpreter, as the image's PATH finds it.
    """

    images: tuple[str, ...]
    memory_bytes: int
    cpus: float
    max_cpus: float
    uid: int = 10_001
    gid: int = 10_001
    pids: int = 4_096
    shm_bytes: int = 2 * GIB
    tmp_bytes: int = 1 * GIB
    network: str = "none"
    fetch_network: str = "bridge"
    hub_env: dict[str, str] = {}
    gpus: GpuMode = "none"
    raw: RawGpus | None = None
    python: str = "python"
    proxies: dict[str, str] = {}


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Whose containers these are."""

    cluster: str
    node: str

    @property
    def labels(self) -> dict[str, str]:
        return {LABEL_CLUSTER: self.cluster, LABEL_NODE: self.node}


def network_of(launch: Launch, policy: Policy) -> str:
    """The network of a job's container. Raises RuntimeFault when it needs one and the node gives none."""
    if not launch.network:
        return "none"
    if policy.network == "none":
        raise RuntimeFault(
            "node:no_network",
            "This job reports to a service elsewhere, and jobs on this node have no network. Set "
            "LORAFORGE_JOB_NETWORK on the node, or report to none.",
        )
    return policy.network


def gpus_of(devices: list[str]) -> list[str]:
    """The GPUs among a job's devices."""
    return [device for device in devices if not device.startswith("cpu-")]


def container_config(
    launch: Launch, *, policy: Policy, identity: Identity, plugin: Path, image: str
) -> dict[str, Any]:
    """The body of ContainerCreate. plugin: the folder of the trainer's plugin on this machine."""
    return {
        "Image": image,
        "Hostname": launch.name,
        "User": f"{policy.uid}:{policy.gid}",
        "Entrypoint": ENTRYPOINT,
        "Cmd": _command(launch, policy),
        "Env": [f"{name}={value}" for name, value in _environment(launch, policy).items()],
        "WorkingDir": f"{JOB}/work",
        "Labels": labels_of(launch, identity),
        "Healthcheck": {"Test": ["NONE"]},
        "StopSignal": "SIGTERM",
        "HostConfig": _host_config(launch, policy, plugin),
    }


def labels_of(launch: Launch, identity: Identity) -> dict[str, str]:
    return {
        **identity.labels,
        LABEL_INSTANCE: str(launch.instance),
        LABEL_ATTEMPT: str(launch.attempt),
        LABEL_SPEC: launch.spec_hash,
        LABEL_DEVICES: ",".join(launch.devices),
    }


def _command(launch: Launch, policy: Policy) -> list[str]:
    if launch.processes == 1:
        return [policy.python, *launch.argv]
    # `python -m swift.cli.<command>` does not start torchrun by itself (see the process runtime)
    torchrun = ["-m", "torch.distributed.run", "--nproc_per_node", str(launch.processes)]
    address = ["--master_addr", "127.0.0.1", "--master_port", str(MASTER_PORT)]
    return [policy.python, *torchrun, *address, *launch.argv]


def _environment(launch: Launch, policy: Policy) -> dict[str, str]:
    gpus = gpus_of(launch.devices)
    own = {
        **NAMED,
        "HOME": HOME,
        "TMPDIR": "/tmp",  # noqa: S108 - the container's own, in memory
        # large, so on disk: a dataset's arrow files lie here too
        "MODELSCOPE_CACHE": f"{CACHES}/modelscope",
        "HF_HOME": f"{CACHES}/huggingface",
        "XDG_CACHE_HOME": f"{HOME}/.cache",
        "PYTHONUNBUFFERED": "1",
    }
    network = network_of(launch, policy)
    if network != "none":
        own |= policy.proxies
    fixed = _gpu_environment(gpus, policy)
    if launch.processes > 1:
        own["NPROC_PER_NODE"] = str(launch.processes)
        if network == "none":  # there is no other interface, whatever the job asks for
            fixed |= {"GLOO_SOCKET_IFNAME": "lo", "NCCL_SOCKET_IFNAME": "lo"}
    return {**own, **launch.env, **fixed}


def _gpu_environment(gpus: list[str], policy: Policy) -> dict[str, str]:
    # an image may ask for all GPUs of the machine by this variable
    fixed = {"NVIDIA_VISIBLE_DEVICES": ",".join(gpus) or "void"}
    if not gpus:
        return fixed | {"CUDA_VISIBLE_DEVICES": ""}
    if policy.raw is not None:
        fixed |= {"CUDA_VISIBLE_DEVICES": ",".join(gpus), "LD_LIBRARY_PATH": rawgpus.FOLDER}
    return fixed


def _host_config(launch: Launch, policy: Policy, plugin: Path) -> dict[str, Any]:
    memory_bytes = policy.memory_bytes * len(launch.devices)
    cpus = min(policy.cpus * len(launch.devices), policy.max_cpus)
    # open files stay as the engine has them: raising them fails where the engine itself may not
    ulimits = [{"Name": "core", "Soft": 0, "Hard": 0}]
    if gpus_of(launch.devices):  # pinned memory
        ulimits.append({"Name": "memlock", "Soft": NO_LIMIT, "Hard": NO_LIMIT})
    return {
        "Mounts": _mounts(launch, plugin) + _binds(_libraries(gpus_of(launch.devices), policy)),
        "Tmpfs": _tmpfs(policy),
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "NetworkMode": network_of(launch, policy),
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "Init": True,
        "PidsLimit": policy.pids,
        "Memory": memory_bytes,
        "MemorySwap": memory_bytes,  # no swap on top
        "NanoCpus": int(cpus * 1e9),
        "ShmSize": min(policy.shm_bytes, memory_bytes),
        "OomScoreAdj": OOM_SCORE,
        "Ulimits": ulimits,
        "RestartPolicy": {"Name": "no"},
        "AutoRemove": False,  # its exit code must be there until it is acknowledged
        # only what is said before the console is open, so a few lines
        "LogConfig": {
            "Type": "local",
            "Config": {"max-size": "1m", "max-file": "1", "compress": "false"},
        },
        **_gpu_access(gpus_of(launch.devices), policy),
    }


def errand_label(identity: Identity) -> str:
    """Whose errand it is."""
    return f"{identity.node}@{identity.cluster}"


def errand_config(
    errand: Errand, *, policy: Policy, identity: Identity, plugin: Path, image: str
) -> dict[str, Any]:
    """The body of ContainerCreate for an errand: as hard as a job's, with a network and little else."""
    if policy.fetch_network == "none" and not errand.devices:
        raise RuntimeFault(
            "node:no_fetch_network",
            "This node fetches nothing from model hubs (LORAFORGE_FETCH_NETWORK is none). Choose a "
            "model and data that are on the node, or another node.",
        )
    temporary = f"{paths.FETCH}/run/tmp"
    environment = {
        **NAMED,
        "HOME": temporary,
        "TMPDIR": temporary,
        "HF_HOME": f"{temporary}/huggingface",
        "MODELSCOPE_CACHE": f"{temporary}/modelscope",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "PYTHONUNBUFFERED": "1",
        **_gpu_environment(errand.devices, policy),
    }
    if not errand.devices:
        environment |= {**policy.proxies, **policy.hub_env}
    mounts: list[tuple[str, Path, bool]] = [
        (paths.FETCH, errand.folder, False),
        (paths.PLUGIN, plugin, True),
    ]
    if errand.token is not None:
        mounts.append((paths.FETCH_TOKEN, errand.token, True))
    return {
        "Image": image,
        "User": f"{policy.uid}:{policy.gid}",
        "Entrypoint": ["/bin/sh", "-c", f'exec "$@" >>{paths.FETCH}/run/log.txt 2>&1', "sh"],
        "Cmd": [policy.python, *errand.argv],
        "Env": [f"{name}={value}" for name, value in environment.items()],
        "WorkingDir": temporary,
        "Labels": {LABEL_ERRAND: errand_label(identity)},
        "Healthcheck": {"Test": ["NONE"]},
        "HostConfig": {
            "Mounts": _binds(mounts + _libraries(errand.devices, policy)),
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges:true"],
            "NetworkMode": "none" if errand.devices else policy.fetch_network,
            **_gpu_access(errand.devices, policy),
            "Init": True,
            "PidsLimit": ERRAND_PIDS,
            "Memory": ERRAND_MEMORY_BYTES,
            "MemorySwap": ERRAND_MEMORY_BYTES,
            "OomScoreAdj": OOM_SCORE,
            "RestartPolicy": {"Name": "no"},
            "LogConfig": {"Type": "none", "Config": {}},
        },
    }


def _mounts(launch: Launch, plugin: Path) -> list[dict[str, Any]]:
    return _binds(
        [
            (JOB, launch.folder.path, False),
            (paths.INPUTS, launch.folder.inputs, True),
            (f"{JOB}/inputs", launch.folder.inputs, True),
            (paths.PLUGIN, plugin, True),
            *((target, path, True) for target, path in sorted(launch.mounts.items())),
        ]
    )


def _binds(places: list[tuple[str, Path, bool]]) -> list[dict[str, Any]]:
    """(target, source, whether it is read-only)."""
    return [
        {
            "Type": "bind",
            "Source": str(source),
            "Target": target,
            "ReadOnly": is_read_only,
            "BindOptions": {"Propagation": "rprivate"},
        }
        for target, source, is_read_only in places
    ]


def _tmpfs(policy: Policy) -> dict[str, str]:
    # exec: torch compiles kernels into both and loads them
    common = f"rw,exec,nosuid,nodev,size={policy.tmp_bytes}"
    return {
        "/tmp": f"{common},mode=1777",  # noqa: S108 - the container's own
        HOME: f"{common},mode=0700,uid={policy.uid},gid={policy.gid}",
    }


def _gpu_access(gpus: list[str], policy: Policy) -> dict[str, Any]:
    """By UUID, never by index: an index changes with a restart of the machine."""
    if not gpus:
        return {"DeviceRequests": []}
    if policy.gpus == "cdi":
        names = [f"nvidia.com/gpu={gpu}" for gpu in gpus]
        return {"DeviceRequests": [{"Driver": "cdi", "DeviceIDs": names}]}
    if policy.raw is not None:
        nodes = [*(policy.raw.nodes[gpu] for gpu in gpus), *policy.raw.common]
        return {"DeviceRequests": [], "Devices": [_device(node) for node in nodes]}
    capabilities = [["gpu", "compute", "utility"]]
    request = {"Driver": "nvidia", "DeviceIDs": gpus, "Capabilities": capabilities}
    return {"DeviceRequests": [request]}


def _device(node: str) -> dict[str, str]:
    return {"PathOnHost": node, "PathInContainer": node, "CgroupPermissions": "rw"}


def _libraries(gpus: list[str], policy: Policy) -> list[tuple[str, Path, bool]]:
    """The driver's, where nothing else brings them."""
    if not gpus or policy.raw is None:
        return []
    found = sorted(policy.raw.libraries.items())
    return [(f"{rawgpus.FOLDER}/{name}", Path(file), True) for name, file in found]
