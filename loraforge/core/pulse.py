"""Whether the loops of this process still turn: each says so every round, a file tells those outside."""

import threading
import time
from collections.abc import Iterable
from pathlib import Path

# Longer than the longest pause of a loop (`core.outage`), and than a batch on a slow disk.
PATIENCE_S = 60.0
TELL_EVERY_S = 5.0

_turned: dict[str, float] = {}


def turn(name: str) -> None:
    """The loop ``name`` begins a round."""
    _turned[name] = time.monotonic()


def is_turning(names: Iterable[str]) -> bool:
    """True while each of these loops began a round not long ago."""
    oldest = time.monotonic() - PATIENCE_S
    return all(_turned.get(name, oldest) > oldest for name in names)


def tell(path: Path, *, names: Iterable[str], stopping: threading.Event) -> None:
    """Touch ``path`` while the loops turn, until ``stopping`` is set. Whoever judges looks at its age."""
    wanted = tuple(names)
    while True:
        if is_turning(wanted):
            path.touch()
        if stopping.wait(TELL_EVERY_S):
            return
