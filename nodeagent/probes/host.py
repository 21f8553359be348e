"""The machine by psutil and /proc."""

import os
import shutil
from pathlib import Path

import psutil

from nodeagent.contract.reports import HostSample

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def boot_id() -> str:
    """Changes with every boot of the machine, and with nothing else."""
    try:
        return _BOOT_ID.read_text(encoding="ascii").strip()
    except FileNotFoundError:  # no Linux
        return f"boot-{int(psutil.boot_time())}"


def memory_total_bytes() -> int:
    return int(psutil.virtual_memory().total)


def host_sample(folder: Path) -> HostSample:
    """One reading; CPU is the mean since the call before. Disk is the one that holds ``folder``."""
    memory = psutil.virtual_memory()
    disk = shutil.disk_usage(folder)
    return HostSample(
        cpu_percent=float(psutil.cpu_percent(interval=None)),
        memory_used_bytes=int(memory.total - memory.available),
        memory_total_bytes=int(memory.total),
        disk_free_bytes=disk.free,
        disk_total_bytes=disk.total,
        load_1m=os.getloadavg()[0],
    )
