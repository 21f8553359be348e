"""Why an attempt failed: whose fault it is, and the line that says so. Pure.

A reason is ``area:what``; `training.faults` says what each means, `gateway.signatures` how a log says it.
"""

import re
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from loraforge.gateway.ending import Ending
from loraforge.gateway.signatures import FOLLOWS, FRAME, GPU_COMMUNICATION, RAISED_IN, RULES

# Of the log, from its end: what is further up belongs to something that was survived.
LINES_LOOKED_AT = 400
DETAIL_CHARACTERS = 2_000

ARGPARSE_EXIT_CODE = 2
# The node knows that it ended, and nothing more; the log may.
_VAGUE = frozenset({"process:lost", "process:exit_unknown", "container:gone"})
_TOLD_TO_END = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGHUP})


@dataclass(frozen=True)
class Failure:
    """reason is ``area:what``, detail the raw line it was read from."""

    reason: str
    detail: str


_EXCEPTION = re.compile(
    r"^\s*(?:\[rank\d+\]:\s*)?(?:[A-Za-z_]\w*\.)*"
    r"([A-Za-z_]\w*(?:Error|Exception|Interrupt|Exit|Warning))\b(?::|$)"
)
_TRACEBACK = "Traceback (most recent call last)"


def failure_find(*, ending: Ending, lines: Sequence[str]) -> Failure:
    """Classify a failed ending by what the node said, then by the last lines of its log."""
    last = list(lines[-LINES_LOOKED_AT:])
    if ending.reason and ending.reason not in _VAGUE:
        return Failure(ending.reason, ending.detail[:DETAIL_CHARACTERS])
    found = _signature(last, by_signal=ending.signal is not None)
    if found is not None:
        return found
    if ending.reason:
        return Failure(ending.reason, (ending.detail or _last_said(last))[:DETAIL_CHARACTERS])
    return _by_exit(ending, last)


def _signature(lines: Sequence[str], *, by_signal: bool) -> Failure | None:
    """The first rule that any line answers to; its last such line is the detail.

    by_signal: a signal ended it, so a traceback further up was survived.
    """
    for reason, pattern in RULES:
        found = _last_match(pattern, lines)
        if found:
            return Failure(reason, found)
    place = None if by_signal else _exception_place(lines)
    if place is not None:
        said = lines[place].strip()[:DETAIL_CHARACTERS]
        return Failure(_raised_in(lines, place), said)
    found = _last_match(GPU_COMMUNICATION, lines)
    return Failure("node:gpu_communication", found) if found else None


def _last_match(pattern: re.Pattern[str], lines: Sequence[str]) -> str:
    found = next((line for line in reversed(lines) if pattern.search(line)), "")
    return found.strip()[:DETAIL_CHARACTERS]


def _by_exit(ending: Ending, last: Sequence[str]) -> Failure:
    """The log names no cause: what the exit code says."""
    said = _last_said(last)
    if ending.signal == signal.SIGKILL:
        return Failure("node:killed", said)
    if ending.signal in _TOLD_TO_END:
        return Failure("node:interrupted", said)
    if ending.signal is not None:
        return Failure("code:crashed", f"signal {ending.signal}. {said}".strip())
    if ending.exit_code == ARGPARSE_EXIT_CODE:
        return Failure("user:bad_argument", said)
    return Failure("code:exit", f"exit code {ending.exit_code}. {said}".strip())


def _exception_place(lines: Sequence[str]) -> int | None:
    """Where the last traceback closes, of those that do not only follow from another process's end."""
    if not any(_TRACEBACK in line for line in lines):
        return None
    for place in range(len(lines) - 1, -1, -1):
        found = _EXCEPTION.match(lines[place])
        if found and found[1] not in FOLLOWS and not GPU_COMMUNICATION.search(lines[place]):
            return place
    return None


def _raised_in(lines: Sequence[str], place: int) -> str:
    """By the innermost file of the traceback that closes at this line."""
    frame = next((line for line in reversed(lines[:place]) if FRAME.match(line)), "")
    return next((reason for pattern, reason in RAISED_IN if pattern.match(frame)), "code:exception")


def _last_said(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:DETAIL_CHARACTERS]
