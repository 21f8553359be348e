"""Every reason why a job ends that nobody asked to end: whose it is, and whether the same again may help. Pure.

A reason is ``area:what``. Those of the control plane's own reading of a log have the area of their owner
(user, code, node, platform); the node agent's have the area of what failed there (input, container ...).
`dashboard.explain` has the texts, `gateway.failures` the signatures.
"""

from dataclasses import dataclass
from enum import StrEnum

from loraforge.billing.policy import BUDGET_USED_UP


class Owner(StrEnum):
    """To whom a failure belongs."""

    USER = "user"  # settings or data
    CODE = "code"
    NODE = "node"
    PLATFORM = "platform"


class Again(StrEnum):
    """What a next attempt with nothing changed is worth."""

    NO = "no"  # it would end the same way
    ASKED = "asked"  # worth a try, when a person says so
    ITSELF = "itself"  # the system makes it, wherever it fits
    ELSEWHERE = "elsewhere"  # the system makes it, on another node if one is free
    NOT_THERE = "not_there"  # the system makes it, on another node if any could take it
    SMALLER = "smaller"  # only with a smaller batch, and when the owner allowed that


@dataclass(frozen=True)
class Fault:
    """What a reason means."""

    owner: Owner
    again: Again


_USER = Fault(Owner.USER, Again.NO)
_CODE = Fault(Owner.CODE, Again.NO)
_NODE = Fault(Owner.NODE, Again.ELSEWHERE)  # it passed, and may not come again
_NODE_BROKEN = Fault(Owner.NODE, Again.NOT_THERE)  # it stays until somebody mends it
_NODE_ASKED = Fault(Owner.NODE, Again.ASKED)
_PLATFORM = Fault(Owner.PLATFORM, Again.ITSELF)
_PLATFORM_ASKED = Fault(Owner.PLATFORM, Again.ASKED)

GPU_OUT_OF_MEMORY = "user:gpu_out_of_memory"
RUN_TIME_EXCEEDED = "user:run_time_exceeded"
NODE_LOST = "node:lost"
NODE_FENCED = "node:fenced"

FAULTS: dict[str, Fault] = {
    GPU_OUT_OF_MEMORY: Fault(Owner.USER, Again.SMALLER),
    RUN_TIME_EXCEEDED: _USER,
    BUDGET_USED_UP: _USER,
    **dict.fromkeys(
        (
            "user:unknown_argument", "user:bad_argument", "user:model_not_found",
            "user:model_unsupported", "user:model_damaged", "user:hub_token_missing",
            "user:hub_token_refused", "user:bad_dataset", "user:disk_quota", "user:dataset_not_found",
            "user:dataset_too_long", "user:hub_denied", "user:hub_revision",
            "user:secret_missing", "model:not_found", "model:outside_roots", "input:not_found",
        ),
        _USER,
    ),
    **dict.fromkeys(
        ("code:exception", "code:crashed", "code:exit", "code:gpu_assert", "code:gpu_access"),
        _CODE,
    ),
    **dict.fromkeys(
        (
            "node:gpu_communication", "node:killed", "node:interrupted", "node:rebooted",
            "node:engine_restarted", "node:lost_attempt", NODE_LOST, NODE_FENCED, "device:busy", "device:dirty",
            "container:gone", "container:never_started", "process:lost", "process:exit_unknown",
            "node:prepare_timeout",
        ),
        _NODE,
    ),
    **dict.fromkeys(
        (
            "node:disk_full", "node:disk_error", "node:gpu_error", "node:gpu_lost",
            "node:gpu_missing", "device:unknown", "container:create_failed",
            "container:start_failed", "container:name_taken", "runtime:start_failed",
            "runtime:python_missing", "image:missing", "node:no_network", "node:no_fetch_network",
        ),
        _NODE_BROKEN,
    ),
    # A retry begins at the beginning, which may be there.
    "artifacts:checkpoint_gone": Fault(Owner.USER, Again.ASKED),
    "node:download_failed": Fault(Owner.NODE, Again.ITSELF),
    "node:hub_unreachable": Fault(Owner.NODE, Again.ITSELF),
    "node:fetch_failed": Fault(Owner.NODE, Again.ITSELF),
    "input:unreachable": Fault(Owner.NODE, Again.ITSELF),
    # More of the same machine's memory is not to be had by asking again at once.
    **dict.fromkeys(("node:out_of_memory", "node:oom_killed"), _NODE_ASKED),
    "migration:drain_deadline": _NODE_ASKED,
    "node:given_up": _NODE_ASKED,  # a person's decision; the next attempt is one as well
    "input:hash_mismatch": _PLATFORM,
    "instance:live": _PLATFORM,
    **dict.fromkeys(
        (
            "platform:missing_package", "platform:wrong_image", "platform:shared_memory",
            "image:not_allowed", "input:forbidden", "input:bad_spec", "mount:bad_target",
            "device:none", "command:no_spec", "command:spec_conflict", "command:old_attempt",
            "command:invalid",
        ),
        _PLATFORM_ASKED,
    ),
}  # fmt: skip

# Reasons of a newer node agent, and error ids of the control plane itself that kept a job from its start.
_BY_AREA: dict[str, Fault] = {
    "user": _USER,
    "code": _CODE,
    "node": _NODE_ASKED,
    "platform": _PLATFORM_ASKED,
    "model": _USER,
    "dataset": _USER,
    "datasets": _USER,
    "training": _USER,
    "command": _PLATFORM_ASKED,
}


def fault_of(reason: str) -> Fault:
    """What this reason means; one that is not known is the node's, and nothing is done by itself."""
    known = FAULTS.get(reason)
    return known or _BY_AREA.get(reason.partition(":")[0], _NODE_ASKED)
