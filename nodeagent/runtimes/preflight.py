"""Whether a Docker engine is fit for jobs: judged from what it says of itself, nothing tried."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from nodeagent.runtimes.container import GIB, GpuMode

OLDEST_API = (1, 41)  # engine 20.10: one-shot stats, private cgroup namespaces
LITTLE_DISK_BYTES = 10 * GIB
LITTLE_DISK_PART = 0.10
CDI_GPU = "nvidia.com/gpu"


class EngineRefused(Exception):
    """No jobs on this engine; the text says why and what to do."""


class Findings(msgspec.Struct, frozen=True, kw_only=True):
    """version: the engine's. gpus: how it hands GPUs to containers. warnings: for people, one a line."""

    version: str
    gpus: GpuMode = "none"
    warnings: list[str] = []


def engine_judge(
    *,
    version: Mapping[str, Any],
    info: Mapping[str, Any],
    has_gpus: bool,
    disk: tuple[int, int] | None,
) -> Findings:
    """Judge GET /version and GET /info. Raises EngineRefused.

    has_gpus: this node offers GPUs. disk: (free, total) bytes where the engine keeps its data, None
    when that cannot be seen from here.
    """
    _refuse_unfit(version, info)
    gpus = _gpu_mode(info)
    if has_gpus and gpus == "none":
        raise EngineRefused(
            "This machine has GPUs, but its Docker engine cannot hand them to containers. Install "
            "nvidia-container-toolkit and run `nvidia-ctk runtime configure --runtime=docker`."
        )
    return Findings(
        version=str(version.get("Version", "")),
        gpus=gpus if has_gpus else "none",
        warnings=[*_warnings(info), *_disk_warnings(disk)],
    )


def _refuse_unfit(version: Mapping[str, Any], info: Mapping[str, Any]) -> None:
    api = tuple(int(part) for part in str(version.get("ApiVersion", "0")).split("."))
    if api < OLDEST_API:
        raise EngineRefused(
            f"Docker engine {version.get('Version')} is too old; 20.10 or newer is needed."
        )
    if info.get("OSType") != "linux":
        raise EngineRefused(f"The engine runs {info.get('OSType')} containers, not Linux ones.")
    options = " ".join(info.get("SecurityOptions") or [])
    for name in ("userns", "rootless"):
        if f"name={name}" in options:
            raise EngineRefused(
                f"The engine maps user ids ({name}), so a job could not write to its folder. "
                "Use an engine without it; jobs run as an unprivileged user anyway."
            )


def _gpu_mode(info: Mapping[str, Any]) -> GpuMode:
    if "nvidia" in (info.get("Runtimes") or {}):
        return "nvidia"
    listed = [str(one.get("ID", "")) for one in info.get("DiscoveredDevices") or []]
    if any(one.startswith(CDI_GPU) for one in listed):
        return "cdi"
    # engines before 28.3 do not list the devices
    for folder in info.get("CDISpecDirs") or []:
        for spec in Path(folder).glob("*.[jy]*"):
            if CDI_GPU in spec.read_text(encoding="utf-8", errors="replace"):
                return "cdi"
    return "none"


def _warnings(info: Mapping[str, Any]) -> list[str]:
    found = []
    if not info.get("LiveRestoreEnabled"):
        found.append(
            "The engine has no live-restore: trainings die when it is restarted. "
            'Set {"live-restore": true} in /etc/docker/daemon.json.'
        )
    for key, what in (
        ("MemoryLimit", "memory"),
        ("PidsLimit", "number of processes"),
        ("CpuCfsQuota", "CPU"),
    ):
        if not info.get(key):
            found.append(f"The engine cannot limit the {what} of a job here.")
    if not any("name=seccomp" in one for one in info.get("SecurityOptions") or []):
        found.append("The engine filters no system calls (seccomp is off).")
    return found


def _disk_warnings(disk: tuple[int, int] | None) -> list[str]:
    if disk is None:
        return []
    free, total = disk
    if free >= max(LITTLE_DISK_BYTES, total * LITTLE_DISK_PART):
        return []
    return [
        f"Little room for images and containers: {free / GIB:.1f} of {total / GIB:.0f} GiB free."
    ]
