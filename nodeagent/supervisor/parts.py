"""What the supervisor hands to each run."""

from concurrent.futures import Executor
from pathlib import Path

import msgspec
import psutil

from nodeagent.contract.commands import Start
from nodeagent.linecap import LogCaps
from nodeagent.reporter import Reporter
from nodeagent.runtimes.base import Runtime
from nodeagent.supervisor.closing import Manifests
from nodeagent.supervisor.fencing import Contact
from nodeagent.supervisor.fulldisk import FullDisk
from nodeagent.supervisor.gpuwatch import GpuWatch
from nodeagent.supervisor.hub import HubCache
from nodeagent.supervisor.outbox import Outbox
from nodeagent.transfer.inputs import Fetcher


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What every run needs, given once."""

    node: str
    boot_id: str
    runtime: Runtime
    fetcher: Fetcher
    reporter: Reporter
    contact: Contact
    full_disk: FullDisk
    outbox: Outbox
    manifests: Manifests
    hub: HubCache
    pool: Executor
    gpus: GpuWatch | None = None  # None: this node has no GPUs
    model_roots: tuple[Path, ...]
    cpu_slots: int = 0
    log_caps: LogCaps = msgspec.field(default_factory=LogCaps)
    job_disk_bytes: int = 0  # what a job's folder may take; 0 = no limit
    limits: dict[str, float] = {}  # seconds of a step of getting ready, see `Steps`


def cpu_share(spec: Start, *, slots: int) -> dict[str, str]:
    """OMP_NUM_THREADS for a job on CPU slots, so that each slot uses its share of the cores.

    Without it every trainer starts a thread on every core, and their spinning waits make two jobs side
    by side many times slower than one after the other. Empty for a job on GPUs.
    """
    held = sum(device.startswith("cpu-") for device in spec.devices)
    if not held or not slots:
        return {}
    cores = psutil.cpu_count() or 1
    return {"OMP_NUM_THREADS": str(max(1, cores * held // slots // max(1, spec.processes)))}
