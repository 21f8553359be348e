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


class GpuWays(msgspec.Struct, frozen=True, kw_only=True):
    """A node with GPUs. wanted: the operator's setting. has_raw: device nodes and libraries are there."""

    wanted: str = "auto"
    has_raw: bool = False


def engine_judge(
    *,
    version: Mapping[str, Any],
    info: Mapping[str, Any],
    gpu_ways: GpuWays | None,
    disk: tuple[int, int] | None,
) -> Findings:
    """Judge GET /version and GET /info. Raises EngineRefused.

    gpu_ways: None where this node offers no GPUs. disk: (free, total) bytes where the engine keeps its
    data, None when that cannot be seen from here.
    """
    _refuse_unfit(version, info)
    gpus = "none" if gpu_ways is None else _gpu_mode(info, gpu_ways)
    return Findings(
        version=str(version.get("Version", "")),
        gpus=gpus,
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


def _gpu_mode(info: Mapping[str, Any], ways: GpuWays) -> GpuMode:
    """What the operator set, if it is there; else the first that is there."""
    there: dict[GpuMode, bool] = {
        "nvidia": "nvidia" in (info.get("Runtimes") or {}),
        "cdi": _has_cdi(info),
        "raw": ways.has_raw,
    }
    found = [mode for mode, is_there in there.items() if is_there]
    if ways.wanted != "auto":
        if ways.wanted not in found:
            raise EngineRefused(
                f"LORAFORGE_GPU_MODE is {ways.wanted}, which this machine does not have; there is: "
                f"{', '.join(found) or 'none'}."
            )
        return next(mode for mode in found if mode == ways.wanted)
    if not found:
        raise EngineRefused(
            "This machine has GPUs, but its Docker engine cannot hand them to containers. Install "
            "nvidia-container-toolkit and run `nvidia-ctk runtime configure --runtime=docker`."
        )
    return found[0]


def _has_cdi(info: Mapping[str, Any]) -> bool:
    listed = [str(one.get("ID", "")) for one in info.get("DiscoveredDevices") or []]
    if any(one.startswith(CDI_GPU) for one in listed):
        return True
    # engines before 28.3 do not list the devices
    for folder in info.get("CDISpecDirs") or []:
        for spec in Path(folder).glob("*.[jy]*"):
            if CDI_GPU in spec.read_text(encoding="utf-8", errors="replace"):
                return True
    return False


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
