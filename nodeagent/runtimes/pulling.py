"""Pulling an image: with progress, tried again when the way to the registry broke.

The engine keeps the layers that it has whole, so a later try goes on from there. It asks the registry
as nobody: an image that needs an account is pulled by the operator beforehand.
"""

import logging
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nodeagent.runtimes.base import RuntimeFault, Say
from nodeagent.runtimes.progress import PullProgress

log = logging.getLogger(__name__)

TRIES = 5
AGAIN_AFTER_S = 2.0  # doubled each time
# What the registry said itself, and will say again.
_FINAL = re.compile(
    r"manifest unknown|not found|denied|unauthorized|no basic auth|invalid reference|no matching manifest"
    r"|no space left",
    re.IGNORECASE,
)

Lines = Callable[[], Iterable[Mapping[str, Any]]]


class PullBroken(Exception):
    """The way to the registry broke; the text is the engine's own."""


def image_pull(
    image: str,
    *,
    lines: Lines,
    say: Say,
    cancelled: Callable[[], bool],
    again_after_s: float = AGAIN_AFTER_S,
) -> None:
    """Have the image. lines: asks the engine, and gives its answer line by line. Raises RuntimeFault.

    Returns early when ``cancelled``.
    """
    for number in range(TRIES):
        try:
            _pull_once(image, lines, say, cancelled)
        except PullBroken as broken:
            if _FINAL.search(str(broken)) or number == TRIES - 1:
                raise image_missing(image, str(broken)) from broken
            log.warning("image %s: %s; again", image, broken)
            _pause(again_after_s * 2**number, cancelled)
        else:
            return
        if cancelled():
            return


def image_missing(image: str, said: str) -> RuntimeFault:
    """The image is not here, and cannot be had."""
    return RuntimeFault(
        "image:missing",
        f"The image {image} is not on this node and cannot be pulled: {said.strip()[:300]}",
    )


def _pull_once(image: str, lines: Lines, say: Say, cancelled: Callable[[], bool]) -> None:
    progress = PullProgress(image)
    for line in lines():
        if "error" in line:
            raise PullBroken(str(line["error"]))
        progress.take(line)
        say(
            done_bytes=progress.done_bytes,
            total_bytes=progress.total_bytes,
            detail=progress.text,
        )
        if cancelled():
            return


def _pause(seconds: float, cancelled: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not cancelled():
        time.sleep(0.05)
