"""Model folders: where they may lie, and those on this machine.

Of a model config.json is read and nothing else; nothing of it is ever run.
"""

import os
import stat
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
from django.conf import settings

from loraforge.nodes.models import Node
from nodeagent.contract.reading import UNREADABLE

CONFIG_FILE = "config.json"
CONFIG_MAX_BYTES = 1024**2
MAX_DEPTH = 3
MAX_FOLDERS = 200
REMEMBER_S = 10.0

_remembered: dict[tuple[str, ...], tuple[float, list[str]]] = {}


def model_roots() -> list[str]:
    """All folders from which a typed path may come: the platform's and those of the nodes."""
    nodes = Node.objects.values_list("model_roots", flat=True)
    every = [*settings.MODEL_ROOTS, *(root for roots in nodes for root in roots or ())]
    return sorted({str(root) for root in every})


def config_read(folder: str, *, root: str) -> Mapping[str, object] | None:
    """The parsed config.json of a folder below root; None when there is none that can be read.

    Links are followed (hub caches consist of them) as long as they stay inside the root.
    """
    real = os.path.realpath(os.path.join(folder, CONFIG_FILE))  # noqa: PTH118 - must not touch the disk twice
    if not Path(real).is_relative_to(os.path.realpath(root)):
        return None
    try:
        descriptor = os.open(real, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
        known = os.fstat(descriptor)
        if not stat.S_ISREG(known.st_mode) or known.st_size > CONFIG_MAX_BYTES:
            return None
        try:
            config = msgspec.json.decode(file.read(CONFIG_MAX_BYTES))
        except UNREADABLE:
            return None
    return config if isinstance(config, dict) else None


def model_folders() -> list[str]:
    """Folders below `MODEL_ROOTS` on this machine that hold a config.json, sorted; at most MAX_FOLDERS.

    Remembered for a few seconds, since a page asks with every letter that is typed.
    """
    roots = tuple(settings.MODEL_ROOTS)
    known = _remembered.get(roots)
    if known is not None and time.monotonic() - known[0] < REMEMBER_S:
        return known[1]
    found: list[str] = []
    for root in roots:
        for folder in _search(root, 0):
            found.append(folder)
            if len(found) >= MAX_FOLDERS:
                break
    found = sorted(set(found))[:MAX_FOLDERS]
    _remembered[roots] = (time.monotonic(), found)
    return found


def _search(folder: str, depth: int) -> Iterator[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entries, key=lambda entry: entry.name)
    except OSError:
        return  # not on this machine, or not ours to read
    if any(entry.name == CONFIG_FILE for entry in names):
        yield folder
        return
    if depth < MAX_DEPTH:
        for entry in names:
            if entry.is_dir(follow_symlinks=False) and not entry.name.startswith("."):
                yield from _search(entry.path, depth + 1)
