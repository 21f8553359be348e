"""What is said in words about a job: why it waits, how it ended, whose fault a failure is and what helps."""

from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.instances.models import Instance


@dataclass(frozen=True)
class Diagnosis:
    """Cause, suggestion, and to whom it belongs; raw is the line of the log that told it."""

    cause: str
    suggestion: str
    side: str
    raw: str
    can_retry: bool


SIDES: dict[str, Promise] = {
    "user": gettext_lazy("Settings or data"),
    "code": gettext_lazy("Code"),
    "node": gettext_lazy("Node"),
    "platform": gettext_lazy("Platform"),
}
# Kinds of failure that go away by themselves or on another node.
RETRIED = frozenset({"node", "platform"})

FAILURES: dict[str, tuple[Promise, Promise]] = {
    "user:out_of_memory": (
        gettext_lazy("The GPU ran out of memory."),
        gettext_lazy(
            "Halve the batch size per GPU and double the gradient accumulation steps, or lower the max length."
        ),
    ),
    "user:bad_arguments": (
        gettext_lazy("SWIFT refused an argument."),
        gettext_lazy("Correct the argument that the line below names, in a new job from this one."),
    ),
    "user:model_not_found": (
        gettext_lazy("The base model was not found."),
        gettext_lazy(
            "Check the path or id of the model, and that the node can reach the model hub."
        ),
    ),
    "user:dataset": (
        gettext_lazy("The dataset could not be used."),
        gettext_lazy("Look at the line below, correct the rows and upload the dataset again."),
    ),
    "node:disk_full": (
        gettext_lazy("The disk of the node is full."),
        gettext_lazy("Retry on another node, or ask an operator to free space."),
    ),
    "node:disk_error": (
        gettext_lazy("The node could not write its files."),
        gettext_lazy("Retry on another node and tell an operator."),
    ),
    "node:rebooted": (
        gettext_lazy("The node was restarted during the job."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:lost": (
        gettext_lazy("The node did not come back."),
        gettext_lazy("Retry on another node."),
    ),
}
GENERAL: dict[str, tuple[Promise, Promise]] = {
    "user": (
        gettext_lazy("The settings or the data stopped the job."),
        gettext_lazy("Look at the line below, change it in a new job from this one."),
    ),
    "code": (
        gettext_lazy("The training ended with an error."),
        gettext_lazy(
            "The last lines of the log tell where. Correct the settings in a new job from this one."
        ),
    ),
    "node": (
        gettext_lazy("The node could not run the job."),
        gettext_lazy("Retry; another node may be chosen."),
    ),
    "platform": (
        gettext_lazy("The platform could not run the job."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
}


def diagnosis(instance: Instance) -> Diagnosis | None:
    """Why a failed or lost instance failed; None when it has no reason."""
    if not instance.failure_reason:
        return None
    area = instance.failure_reason.partition(":")[0]
    known = area if area in GENERAL else "code"
    cause, suggestion = FAILURES.get(instance.failure_reason, GENERAL[known])
    return Diagnosis(
        cause=str(cause),
        suggestion=str(suggestion),
        side=str(SIDES[known]),
        raw=instance.failure_detail,
        can_retry=known in RETRIED,
    )


def method_label(arguments: dict[str, Any]) -> str:
    """Training method of a job's arguments: LoRA, QLoRA, Full, or SWIFT's own name of the tuner."""
    tuner = str(arguments.get("tuner_type", "lora"))
    if tuner == "full":
        return _("Full")
    if tuner == "lora":
        return "QLoRA" if arguments.get("quant_method") or arguments.get("quant_bits") else "LoRA"
    return tuner
