"""Why an attempt failed: whose fault it is, and the line that says so. Pure; a first classification.

A reason is ``area:what``: area user (settings or data), code, node or platform.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from loraforge.gateway.ending import Ending

# Of the log, from its end: what is further up belongs to something that was survived.
LINES_LOOKED_AT = 400
DETAIL_CHARACTERS = 2_000

SIGKILL = 9
ARGPARSE_EXIT_CODE = 2


@dataclass(frozen=True)
class Failure:
    """reason is ``area:what``, detail the raw line it was read from."""

    reason: str
    detail: str


# In order: the first that matches any of the last lines wins, the last matching line is its detail.
_RULES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (reason, re.compile("|".join(patterns)))
    for reason, *patterns in (
        ("user:gpu_out_of_memory", r"(CUDA|HIP|NPU) out of memory", r"OutOfMemoryError"),
        ("node:disk_full", r"No space left on device", r"Disk quota exceeded"),
        (
            "node:gpu_error",
            r"uncorrectable ECC error",
            r"GPU is lost",
            r"CUDA error: (?!out of memory)",
        ),
        (
            "node:gpu_communication",
            r"NCCL error",
            r"ncclInternalError",
            r"ncclSystemError",
            r"ProcessGroupNCCL.*timeout",
        ),
        ("user:unknown_argument", r"remaining_argv"),
        (
            "user:bad_argument",
            r"error: (argument |unrecognized arguments|the following arguments)",
        ),
        (
            "user:model_not_found",
            r"RepositoryNotFoundError",
            r"NotExistError",
            r"is not a local folder and is not a valid model",
        ),
        (
            "node:download_failed",
            r"Max retries exceeded",
            r"Temporary failure in name resolution",
            r"Name or service not known",
            r"ConnectTimeout",
            r"LocalEntryNotFoundError",
        ),
        ("user:bad_dataset", r"DatasetGenerationError", r"ArrowInvalid", r"datasets\.exceptions"),
        ("platform:missing_package", r"ModuleNotFoundError", r"ImportError"),
        ("node:out_of_memory", r"Cannot allocate memory", r"MemoryError", r"std::bad_alloc"),
    )
)

_EXCEPTION = re.compile(
    r"^\s*(?:\[rank\d+\]:\s*)?([A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit|Warning))\b(?::|$)"
)
_TRACEBACK = "Traceback (most recent call last)"


def failure_find(*, ending: Ending, lines: Sequence[str]) -> Failure:
    """Classify a failed ending by what the node said, then by the last lines of its log."""
    last = list(lines[-LINES_LOOKED_AT:])
    if ending.reason:
        return Failure(ending.reason, ending.detail[:DETAIL_CHARACTERS])
    for reason, pattern in _RULES:
        found = next((line for line in reversed(last) if pattern.search(line)), None)
        if found is not None:
            return Failure(reason, found.strip()[:DETAIL_CHARACTERS])
    if ending.signal == SIGKILL:
        return Failure("node:killed", _last_said(last))
    if ending.signal is not None:
        return Failure("code:crashed", f"signal {ending.signal}. {_last_said(last)}".strip())
    exception = _exception(last)
    if exception:
        return Failure("code:exception", exception)
    if ending.exit_code == ARGPARSE_EXIT_CODE:
        return Failure("user:bad_argument", _last_said(last))
    return Failure("code:exit", f"exit code {ending.exit_code}. {_last_said(last)}".strip())


def _exception(lines: Sequence[str]) -> str:
    """The closing line of the last traceback."""
    if not any(_TRACEBACK in line for line in lines):
        return ""
    found = next((line for line in reversed(lines) if _EXCEPTION.match(line)), "")
    return found.strip()[:DETAIL_CHARACTERS]


def _last_said(lines: Sequence[str]) -> str:
    return next((line.strip() for line in reversed(lines) if line.strip()), "")[:DETAIL_CHARACTERS]
