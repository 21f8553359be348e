"""What kinds of work a job may be, beyond SWIFT's own names for them: which train, which start. Pure."""

from collections.abc import Mapping

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.core.errors import Invalid
from loraforge.swift.compiler import hears_plugin
from loraforge.training.models import Command, Job

TRAINING = frozenset({Command.PT, Command.SFT, Command.RLHF})
# What a node runs today. An inference service, and an evaluation (evalscope's pins collide with the training
# environment's), are judged and shown as a command only.
STARTED = TRAINING | {Command.INFER, Command.EXPORT, Command.SAMPLE}
GRPO = "grpo"
_GRPO_LABEL = gettext_lazy("GRPO")


def is_training(command: str) -> bool:
    """Whether it has a trainer: steps, metrics, checkpoints, and the platform's plugin in it."""
    return command in TRAINING


def hears_requests(job: Job) -> bool:
    """Whether it saves a checkpoint when asked."""
    return is_training(job.command) and hears_plugin(job.command, job.arguments)


def job_type_label(command: str, arguments: Mapping[str, object]) -> str:
    """The job type as people read it; GRPO is one of its own."""
    if command == Command.RLHF and arguments.get("rlhf_type") == GRPO:
        return str(_GRPO_LABEL)
    return str(Command(command).label) if command in Command.values else command


def started_require(command: str) -> None:
    """Raises Invalid for a kind of work that no node runs yet."""
    if command in STARTED:
        return
    text = _("%(kind)s cannot be started here yet. Copy the command of the preview instead.")
    said = text % {"kind": Command(command).label}
    raise Invalid("training:not_started_here", said, fields={"command": [said]})
