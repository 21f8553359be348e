"""Which runtime this node has, and with which limits."""

import hashlib
import os
import secrets
import shutil
from pathlib import Path

import msgspec
import psutil

from nodeagent.config import FEW_CPUS, JOB_ID, JOB_MEMORY_PART, Containers, Settings
from nodeagent.runtimes.base import Runtime
from nodeagent.runtimes.container import GpuMode, Identity, Policy
from nodeagent.runtimes.docker import DockerRuntime
from nodeagent.runtimes.engine import Engine, engine_open
from nodeagent.runtimes.preflight import EngineRefused, GpuWays
from nodeagent.runtimes.process import ProcessRuntime
from nodeagent.runtimes.rawgpus import RawGpus

PROCESS_TEXT = (
    "To run jobs as plain processes instead, choose it: LORAFORGE_RUNTIME=process. A plain process is "
    "no boundary between a job and this machine, so it is never taken by itself."
)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to share out. devices: how many this node offers; is_root: the agent."""

    memory_bytes: int
    cpus: int
    devices: int
    is_root: bool
    own_user: tuple[int, int]


def machine_here(*, devices: int) -> Machine:
    """This machine."""
    return Machine(
        memory_bytes=int(psutil.virtual_memory().total),
        cpus=psutil.cpu_count() or 1,
        devices=max(devices, 1),
        is_root=os.geteuid() == 0,
        own_user=(os.getuid(), os.getgid()),
    )


def engine_choose(settings: Settings, *, has_gpus: bool, raw: RawGpus | None) -> Engine | None:
    """The engine for jobs, None when plain processes were chosen. Raises EngineRefused.

    raw: what this machine has to hand GPUs to containers without the engine's help.
    """
    if settings.runtime == "process":
        return None
    ways = GpuWays(wanted=settings.containers.gpus, has_raw=raw is not None)
    try:
        engine = engine_open(
            url=settings.containers.engine_url, gpu_ways=ways if has_gpus else None
        )
        user_of(settings.containers, machine_here(devices=1))
    except EngineRefused as refused:
        raise EngineRefused(f"{refused}\n{PROCESS_TEXT}") from refused
    return engine


def user_of(given: Containers, machine: Machine) -> tuple[int, int]:
    """Whom jobs run as. Root gives them a user of their own; anybody else can only lend their own."""
    if machine.is_root:
        return given.user or (JOB_ID, JOB_ID)
    if given.user not in {None, machine.own_user}:
        raise EngineRefused("Only an agent that runs as root can give jobs another user.")
    return machine.own_user


def policy_make(
    given: Containers, machine: Machine, *, gpus: GpuMode, raw: RawGpus | None = None
) -> Policy:
    """Memory is shared out by device, so that one job cannot take another's. CPUs go to whom wants them."""
    share = int(machine.memory_bytes * JOB_MEMORY_PART / machine.devices)
    spare = machine.cpus - 1 if machine.cpus > FEW_CPUS else machine.cpus
    uid, gid = user_of(given, machine)
    return Policy(
        images=given.images,
        memory_bytes=given.memory_bytes or share,
        cpus=given.cpus or float(spare),
        max_cpus=float(spare),
        uid=uid,
        gid=gid,
        pids=given.pids,
        shm_bytes=given.shm_bytes,
        tmp_bytes=given.tmp_bytes,
        network=given.network,
        fetch_network=given.fetch_network,
        hub_env=given.hub_env,
        gpus=gpus,
        raw=raw if gpus == "raw" else None,
        proxies=given.proxies,
    )


def plugin_install(source: Path, into: Path) -> Path:
    """A copy of the trainer's plugin where the engine sees it too, in a folder named by its content.

    An agent in a container has its code where the engine's machine has nothing; its data folder lies at
    the same path on both. A running job keeps the copy that it began with.
    """
    files = sorted(source.glob("*.py"))
    digest = hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).hexdigest()[:16]
    target = into / digest
    if not target.exists():
        fresh = into / f".{digest}-{secrets.token_hex(4)}"
        fresh.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, fresh / file.name)
            (fresh / file.name).chmod(0o644)
        fresh.chmod(0o755)
        fresh.rename(target)
    return target


def runtime_make(
    settings: Settings,
    *,
    engine: Engine | None,
    cluster: str,
    devices: int,
    raw: RawGpus | None = None,
) -> Runtime:
    """The runtime over the engine that was chosen, or over none."""
    if engine is None:
        return ProcessRuntime(
            python=settings.swift_python,
            cache=settings.cache,
            plugin_folder=settings.plugin_folder,
            base_env=settings.trainer_env,
            hub_env=settings.containers.hub_env,
        )
    machine = machine_here(devices=devices)
    return DockerRuntime(
        engine=engine,
        identity=Identity(cluster=cluster, node=settings.name),
        policy=policy_make(settings.containers, machine, gpus=engine.findings.gpus, raw=raw),
        plugin=plugin_install(settings.plugin_folder, settings.folder / "plugin"),
        url=settings.containers.engine_url,
    )
