"""Inputs that this node has already: what an earlier attempt left, taken from its folder without the network."""

import hashlib
import logging
import os
from collections.abc import Callable
from pathlib import Path

from nodeagent.contract.commands import Input
from nodeagent.workspace import JobFolder, opened

log = logging.getLogger(__name__)

BLOCK_BYTES = 1024 * 1024


def copy_verified(
    wanted: Input, source: JobFolder, target: Path, *, cancelled: Callable[[], bool]
) -> bool:
    """Have the input at target, out of the folder of the attempt that left it; False when it is not there.

    A copy, not a link: the job may write to what it is given, and what was left must stay as it is.
    Returns False as well when cancelled, and then, and when the bytes are others, leaves nothing.
    Raises OSError when the target cannot be written.
    """
    if wanted.source is None:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with opened(source.path, wanted.source.path) as descriptor:
            digest = _copied(descriptor, target, wanted.size_bytes, cancelled)
    except FileNotFoundError as error:
        log.warning("%s is not where it was left: %s", wanted.target, error)
        return False
    if digest == wanted.sha256.lower():
        return True
    target.unlink(missing_ok=True)
    if not cancelled():
        log.warning("%s was changed since it was left", wanted.target)
    return False


def _copied(descriptor: int, target: Path, size_bytes: int, cancelled: Callable[[], bool]) -> str:
    """The SHA-256 of what was copied: the announced size, or less where the file ends earlier."""
    digest = hashlib.sha256()
    position = 0
    with target.open("wb") as out:
        while position < size_bytes and not cancelled():
            block = os.pread(descriptor, min(BLOCK_BYTES, size_bytes - position), position)
            if not block:
                break
            out.write(block)
            digest.update(block)
            position += len(block)
    return digest.hexdigest()
