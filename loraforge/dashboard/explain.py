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

# Reasons of gateway.failures and of the node agent; any other gets the text of its side.
FAILURES: dict[str, tuple[Promise, Promise]] = {
    "user:gpu_out_of_memory": (
        gettext_lazy("The GPU ran out of memory."),
        gettext_lazy(
            "Halve the batch size per GPU and double the gradient accumulation steps, "
            "or lower the max length."
        ),
    ),
    "user:unknown_argument": (
        gettext_lazy("SWIFT does not know an argument."),
        gettext_lazy("Remove the argument that the line below names, in a new job from this one."),
    ),
    "user:bad_argument": (
        gettext_lazy("SWIFT refused an argument."),
        gettext_lazy("Correct the argument that the line below names, in a new job from this one."),
    ),
    "user:model_not_found": (
        gettext_lazy("The base model was not found."),
        gettext_lazy(
            "Check the path or id of the model, and that the node can reach the model hub."
        ),
    ),
    "model:not_found": (
        gettext_lazy("The base model is not on this node."),
        gettext_lazy("Check the folder, or choose a node that has the model."),
    ),
    "model:outside_roots": (
        gettext_lazy("The base model lies outside of the folders that models may come from."),
        gettext_lazy("Move it into one of the node's model folders, or ask an operator."),
    ),
    "user:bad_dataset": (
        gettext_lazy("The dataset could not be used."),
        gettext_lazy("Look at the line below, correct the rows and upload the dataset again."),
    ),
    "code:exception": (
        gettext_lazy("The training ended with an error."),
        gettext_lazy("The line below names it; the last lines of the log tell where it happened."),
    ),
    "code:crashed": (
        gettext_lazy("The training process crashed."),
        gettext_lazy(
            "Look at the last lines of the log. A smaller model or batch tells whether memory is the cause."
        ),
    ),
    "code:exit": (
        gettext_lazy("The training ended by itself with an error code."),
        gettext_lazy(
            "The last lines of the log tell why. Correct the settings in a new job from this one."
        ),
    ),
    "node:prepare_timeout": (
        gettext_lazy("Getting the job ready took too long."),
        gettext_lazy(
            "The line below names the step. Retry later; a slow download goes on where it was."
        ),
    ),
    "user:hub_denied": (
        gettext_lazy("The model or dataset was not found at its hub, or is not for everybody."),
        gettext_lazy(
            "Check its name. If only you may have it, store your token on the account page, then start "
            "a new job from this one."
        ),
    ),
    "user:hub_revision": (
        gettext_lazy("The model has no such revision."),
        gettext_lazy("Correct the model revision in a new job from this one."),
    ),
    "user:secret_missing": (
        gettext_lazy("The job needs a key that is not stored."),
        gettext_lazy("Store it on the account page, then start a new job from this one."),
    ),
    "node:hub_unreachable": (
        gettext_lazy("The node could not reach the model hub."),
        gettext_lazy("Retry later, or choose a model or dataset that is on the node already."),
    ),
    "node:fetch_failed": (
        gettext_lazy("The model or dataset could not be downloaded."),
        gettext_lazy("The line below tells why. Retry; if it happens again, tell an operator."),
    ),
    "node:no_fetch_network": (
        gettext_lazy("This node downloads nothing from model hubs."),
        gettext_lazy("Choose a model and data that are on the node, or another node."),
    ),
    "node:no_network": (
        gettext_lazy(
            "The job reports to a service elsewhere, and jobs on this node have no network."
        ),
        gettext_lazy("Choose another node, or report to none in a new job from this one."),
    ),
    "image:missing": (
        gettext_lazy("The training image is not on the node and cannot be pulled."),
        gettext_lazy("Ask an operator to pull it, or to check the registry; then retry."),
    ),
    "node:disk_full": (
        gettext_lazy("The disk of the node is full."),
        gettext_lazy("Retry on another node, or ask an operator to free space."),
    ),
    "node:disk_error": (
        gettext_lazy("The node could not write its files."),
        gettext_lazy("Retry on another node and tell an operator."),
    ),
    "node:gpu_error": (
        gettext_lazy("A GPU of the node failed."),
        gettext_lazy("Retry on other GPUs and tell an operator."),
    ),
    "node:gpu_communication": (
        gettext_lazy("The GPUs lost contact with each other."),
        gettext_lazy("Retry; if it happens again, use fewer GPUs or tell an operator."),
    ),
    "node:download_failed": (
        gettext_lazy("The node could not reach the model hub."),
        gettext_lazy("Retry later, or choose a model or dataset that is on the node already."),
    ),
    "node:out_of_memory": (
        gettext_lazy("The memory of the machine ran out."),
        gettext_lazy("Retry on a node with more memory, or use fewer loading processes."),
    ),
    "node:oom_killed": (
        gettext_lazy("The memory of the machine ran out, so the system ended the job."),
        gettext_lazy("Retry on a node with more memory, or use fewer loading processes."),
    ),
    "node:killed": (
        gettext_lazy("The training process was killed from outside."),
        gettext_lazy("Often the memory of the machine had run out. Retry, or ask an operator."),
    ),
    "node:interrupted": (
        gettext_lazy("The training was interrupted on its node."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:rebooted": (
        gettext_lazy("The node was restarted during the job."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:engine_restarted": (
        gettext_lazy("The container engine of the node was restarted."),
        gettext_lazy("Retry: the next attempt starts on a node that is there."),
    ),
    "node:lost_attempt": (
        gettext_lazy("The node no longer knows this job."),
        gettext_lazy("Retry; another node may be chosen."),
    ),
    "node:given_up": (
        gettext_lazy("The node did not come back."),
        gettext_lazy("Retry on another node."),
    ),
    "platform:missing_package": (
        gettext_lazy("A Python package is missing in the training environment."),
        gettext_lazy(
            "Tell an operator the line below, or remove the argument that needs the package."
        ),
    ),
    "input:hash_mismatch": (
        gettext_lazy("The dataset arrived damaged on the node."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
    "input:unreachable": (
        gettext_lazy("The node could not fetch the dataset."),
        gettext_lazy("Retry; if it fails again, tell an operator."),
    ),
    "input:not_found": (
        gettext_lazy("The dataset is not there any more."),
        gettext_lazy("Upload it again and make a new job from this one."),
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


# The node agent has areas of its own (input, runtime, container ...): "it did not start", so the node's.
_SIDE_OF = {**{area: area for area in GENERAL}, "model": "user", "command": "platform"}


def diagnosis(instance: Instance) -> Diagnosis | None:
    """Why a failed or lost instance failed; None when it has no reason."""
    if not instance.failure_reason:
        return None
    area = instance.failure_reason.partition(":")[0]
    known = _SIDE_OF.get(area, "node")
    cause, suggestion = FAILURES.get(instance.failure_reason, GENERAL[known])
    return Diagnosis(
        cause=str(cause),
        suggestion=str(suggestion),
        side=str(SIDES[known]),
        raw=instance.failure_detail,
        can_retry=known in RETRIED,
    )


def reason_words(reason: str) -> str:
    """What an event's reason says to people; empty where only the id is known."""
    known = FAILURES.get(reason)
    return str(known[0]) if known else ""


def method_label(arguments: dict[str, Any]) -> str:
    """Training method of a job's arguments: LoRA, QLoRA, Full, or SWIFT's own name of the tuner."""
    tuner = str(arguments.get("tuner_type", "lora"))
    if tuner == "full":
        return _("Full")
    if tuner == "lora":
        return "QLoRA" if arguments.get("quant_method") or arguments.get("quant_bits") else "LoRA"
    return tuner
