"""What is said in words about a job: why it waits, how it ended, whose fault a failure is and what helps."""

import json
import re
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.dashboard.failuretexts import FAILURES, GENERAL, NOTES
from loraforge.instances.models import Instance
from loraforge.training.faults import Again, Owner, fault_of
from loraforge.training.models import Command
from loraforge.training.modules import is_training, job_type_label


@dataclass(frozen=True)
class Diagnosis:
    """Cause, suggestion, and to whom it belongs; raw is the line of the log that told it."""

    cause: str
    suggestion: str
    side: str
    raw: str
    can_retry: bool


SIDES: dict[Owner, Promise] = {
    Owner.USER: gettext_lazy("Settings or data"),
    Owner.CODE: gettext_lazy("Code"),
    Owner.NODE: gettext_lazy("Node"),
    Owner.PLATFORM: gettext_lazy("Platform"),
}


def diagnosis(instance: Instance) -> Diagnosis | None:
    """Why an instance failed, was lost, or was stopped by the platform; None when it has no reason."""
    return diagnosis_of(instance.failure_reason, instance.failure_detail)


def diagnosis_of(reason: str, detail: str) -> Diagnosis | None:
    """What a reason says to people; None for none. One that has no text gets the text of its owner."""
    if not reason:
        return None
    fault = fault_of(reason)
    cause, suggestion = FAILURES.get(reason, GENERAL[fault.owner])
    return Diagnosis(
        cause=str(cause),
        suggestion=str(suggestion),
        side=str(SIDES[fault.owner]),
        raw=detail,
        can_retry=fault.again not in {Again.NO, Again.SMALLER},
    )


def reason_words(reason: str) -> str:
    """What an event's reason says to people; empty where only the id is known."""
    known = FAILURES.get(reason)
    return str(known[0]) if known else str(NOTES.get(reason, ""))


# As `training.resuming` writes it into an event.
_RESUMED = re.compile(r"checkpoint-([0-9]+), attempt ([0-9]+)")


def detail_words(reason: str, detail: str) -> str:
    """An event's detail in the reader's language where its form is known, else as it is."""
    found = _RESUMED.fullmatch(detail) if reason.startswith("resume:") else None
    if found is None:
        return detail
    return _("checkpoint-%(step)s of attempt %(attempt)s") % {"step": found[1], "attempt": found[2]}


def method_label(arguments: dict[str, Any]) -> str:
    """Training method of a job's arguments: LoRA, QLoRA, Full, or SWIFT's own name of the tuner."""
    tuner = str(arguments.get("tuner_type", "lora"))
    if tuner == "full":
        return _("Full")
    if tuner == "lora":
        return "QLoRA" if arguments.get("quant_method") or arguments.get("quant_bits") else "LoRA"
    return tuner


def work_label(command: str, arguments: dict[str, Any]) -> str:
    """What a job does, in one word or two for lists: the method of a training, an alignment's own before it."""
    if not is_training(command):
        return job_type_label(command, arguments)
    method = method_label(arguments)
    if command != Command.RLHF:
        return method
    return f"{str(arguments.get('rlhf_type', 'dpo')).upper()} · {method}"


def value_shown(value: Any) -> str:
    """An argument's value as a person reads it on a command line."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return " ".join(map(str, value))
    if isinstance(value, float):
        return f"{value:.15g}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else str(value)
