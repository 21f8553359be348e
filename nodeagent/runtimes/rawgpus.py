"""GPUs by their device nodes and the driver's libraries: for an engine without NVIDIA's toolkit and without CDI."""

import contextlib
import re
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

FOLDER = "/lf/driver"  # where a job finds the driver's libraries
DEV = Path("/dev")
# What every program that computes opens; tools (profiling) and modeset are left out.
COMMON = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools")
# As NVIDIA's own toolkit chooses for programs that compute.
LIBRARIES = (
    "libcuda.so.1",
    "libnvidia-ml.so.1",
    "libnvidia-ptxjitcompiler.so.1",
    "libnvidia-nvvm.so.4",
    "libnvidia-gpucomp.so",
    "libcudadebugger.so.1",
)
LDCONFIG = ("/sbin/ldconfig", "-p")
_LINE = re.compile(r"\s*(\S+) \(libc6,(?:x86-64|AArch64)[^)]*\) => (/\S+)")


class RawGpus(msgspec.Struct, frozen=True, kw_only=True):
    """What containers are given. nodes: UUID -> device node. common: nodes for every job with a GPU.

    libraries: name -> file on this machine.
    """

    nodes: dict[str, str]
    common: tuple[str, ...]
    libraries: dict[str, str]


def libraries_of(listing: str) -> dict[str, str]:
    """The driver's libraries in what `ldconfig -p` prints, the first of each name."""
    found: dict[str, str] = {}
    for line in listing.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        name, path = match[1], match[2]
        # libnvidia-gpucomp has the driver's version in its name
        if name in LIBRARIES or name.startswith("libnvidia-gpucomp.so."):
            found.setdefault(name, path)
    return found


def _listing() -> str:
    try:
        done = subprocess.run(LDCONFIG, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def raw_find(
    uuids: Iterable[str],
    *,
    minor: Callable[[str], int],
    dev: Path = DEV,
    listing: Callable[[], str] = _listing,
) -> RawGpus | None:
    """What this machine has of it; None when something is missing that no job could do without.

    minor: number of a GPU's device node.
    """
    nodes = {}
    for uuid in uuids:
        with contextlib.suppress(LookupError):
            nodes[uuid] = dev / f"nvidia{minor(uuid)}"
    common = [dev / name for name in COMMON if (dev / name).exists()]
    real = {
        name: str(Path(path).resolve())  # a link would lead nowhere in a container
        for name, path in libraries_of(listing()).items()
        if Path(path).exists()
    }
    whole = nodes and all(node.exists() for node in nodes.values())
    names = {node.name for node in common}
    if not whole or not {"nvidiactl", "nvidia-uvm"} <= names or "libcuda.so.1" not in real:
        return None
    return RawGpus(
        nodes={uuid: str(node) for uuid, node in nodes.items()},
        common=tuple(str(node) for node in common),
        libraries=real,
    )
