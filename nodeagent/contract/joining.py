"""Joining: one HTTP call, POST /api/v1/agent/join/, with the node's token as bearer."""

import msgspec

from nodeagent.contract import VERSION
from nodeagent.contract.gpus import GpuMark


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU as NVML names it; uuid like ``GPU-8f6d...``. marks: as by now, see `contract.gpus`."""

    uuid: str
    index: int
    name: str
    memory_bytes: int
    marks: list[GpuMark] = []


class JoinRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What the node is. file_url: where the control plane reaches its file service. clock: seconds since 1970 UTC.

    agent_id: made once in the agent's folder; tells two agents under one name apart. engine_version: of the
    Docker engine, empty for plain processes. warnings: what an operator should
    know about how this node runs jobs, one line each. gpu_mode: how jobs get GPUs: ``nvidia``, ``cdi``,
    ``raw``, ``plain``; empty without GPUs.
    """

    node: str
    boot_id: str
    agent_version: str
    runtime: str
    hostname: str
    file_url: str
    clock: float
    cpu_count: int
    memory_bytes: int
    disk_total_bytes: int
    disk_free_bytes: int
    gpus: list[Gpu] = []
    cpu_slots: int = 0
    model_roots: list[str] = []
    driver_version: str = ""
    swift_version: str = ""
    engine_version: str = ""
    warnings: list[str] = []
    gpu_mode: str = ""
    agent_id: str = ""
    v: int = VERSION


class JoinAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent needs to work. cluster: an agent's data folder belongs to one cluster for ever."""

    cluster: str
    redis_url: str
    file_key: str  # hex; signs and verifies tokens of the file service
    clock: float
    heartbeat_s: float = 5.0
    sample_s: float = 2.0
    v: int = VERSION
