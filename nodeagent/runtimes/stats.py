"""What a container uses, from the engine's one-shot statistics (GET /containers/{id}/stats)."""

from collections.abc import Mapping
from typing import Any

from nodeagent.runtimes.base import Usage


def cpu_used_s(stats: Mapping[str, Any]) -> float:
    """CPU time since the container's start, in seconds of one core."""
    return float(stats.get("cpu_stats", {}).get("cpu_usage", {}).get("total_usage", 0)) / 1e9


def usage_judge(stats: Mapping[str, Any], *, cpu_s: float, passed_s: float) -> Usage | None:
    """None when it has ended: the engine then answers without numbers.

    cpu_s: CPU time used in the last passed_s. Memory is without what the kernel could drop at once, as
    `docker stats` counts it. processes counts threads too, since the kernel's limit does.
    """
    processes = stats.get("pids_stats", {}).get("current")
    if not processes:
        return None
    memory = stats.get("memory_stats", {})
    details = memory.get("stats", {})
    # names of cgroup v1 and v2
    idle_bytes = details.get("total_inactive_file", details.get("inactive_file", 0))
    return Usage(
        cpu_percent=100 * cpu_s / passed_s if passed_s > 0 else 0.0,
        memory_bytes=max(int(memory.get("usage", 0)) - int(idle_bytes), 0),
        processes=int(processes),
    )
