"""Training on from another job's weights: which ones, whether they fit, and that they are there when needed.

A new job with a schedule of its own: optimizer, learning rate and steps begin anew (`launch.Resume.job`).
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.artifacts.leases import lease_take
from loraforge.core.errors import Conflict, LoraForgeError
from loraforge.instances.models import Attempt
from loraforge.instances.states import State
from loraforge.swift.catalogue import Value
from loraforge.training.choosing import choice_made, choices_of, resume_made
from loraforge.training.drafts import JobDraft
from loraforge.training.findings import Findings
from loraforge.training.launch import Resume
from loraforge.training.models import Job

HOLD = timedelta(hours=1)
HOLD_EVERY_S = 600.0
# Until its inputs have come, nothing else keeps another job's files.
_WAITING = (State.QUEUED, State.ASSIGNED, State.PREPARING)
_NUMBER_MAX = 18  # digits, of 64 bits
_FULL = "full"
_LORA = ("lora_rank", "lora_alpha", "target_modules")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What of a draft the weights must fit: the model as it was found, and the checked arguments."""

    model: str
    model_hub: str
    arguments: dict[str, Value]


def parent_check(*, user: User, draft: JobDraft, findings: Findings) -> int | None:
    """The job that the draft was made from; None = it names none."""
    if draft.parent is None:
        return None
    rows = access.visible(user, Job.objects.filter(pk=draft.parent, instance__deleted_at=None))
    if not rows.exists():
        text = _("There is no job #%(number)s. Choose one that you may see, or leave it out.")
        findings.refuse("parent", text % {"number": draft.parent})
        return None
    return draft.parent


def weights_check(
    *, user: User, draft: JobDraft, wanted: Wanted, findings: Findings
) -> Resume | None:
    """The checkpoint whose weights it begins with, and whether they fit the draft; None = none, or a bad one."""
    if not draft.weights_from:
        return None
    number, colon, checkpoint = draft.weights_from.partition(":")
    is_number = number.isascii() and number.isdecimal() and len(number) <= _NUMBER_MAX
    if not is_number or bool(colon) != bool(checkpoint):
        text = _("Weights are those of <job> or <job>:<attempt>:<step>, for instance 41:1:400.")
        findings.refuse("weights_from", text)
        return None
    source = _source(user, int(number), findings)
    if source is None or not _fits(source, wanted, findings):
        return None
    try:
        choice = choice_made(choices_of(source), wanted=checkpoint or None, weights_only=True)
    except LoraForgeError as error:
        findings.refuse("weights_from", error.message)
        return None
    found = resume_made(source, choice.checkpoint, weights_only=True)
    return msgspec.structs.replace(found, job=source.pk)


def _source(user: User, number: int, findings: Findings) -> Job | None:
    rows = Job.objects.filter(pk=number, instance__deleted_at=None)
    found = access.visible(user, rows).select_related("instance__owner").first()
    if found is None:
        text = _("There is no job #%(number)s. Choose one that you may see, or leave it out.")
        findings.refuse("weights_from", text % {"number": number})
        return None
    if not access.allowed(user, Action.DOWNLOAD, found):
        text = _("Only the owner of #%(number)s may train on from it. Ask them to share it.")
        findings.refuse("weights_from", text % {"number": number})
        return None
    return found


def _fits(source: Job, wanted: Wanted, findings: Findings) -> bool:
    """An adapter is nothing without the model and the method that it was trained with."""
    if (source.model, source.model_hub) != (wanted.model, wanted.model_hub):
        text = _("The weights of #%(number)s belong to %(model)s. Choose it as the base model.")
        findings.refuse("weights_from", text % {"number": source.pk, "model": source.model})
        return False
    method, given = (
        str(one.get("tuner_type", "lora")) for one in (source.arguments, wanted.arguments)
    )
    if method != given:
        text = _("The weights of #%(number)s were trained with %(method)s. Choose the same method.")
        findings.refuse("weights_from", text % {"number": source.pk, "method": method})
        return False
    for name in _LORA if method != _FULL else ():
        if source.arguments.get(name) != wanted.arguments.get(name):
            text = _("The weights that it begins with keep their own value of this.")
            findings.warn(f"arguments.{name}", text)
    return True


def weights_may(*, user: User, weights: dict[str, Any]) -> bool:
    """Whether this person may train on from them, and their job is there; True where there are none."""
    if not weights:
        return True
    rows = Job.objects.filter(pk=weights["job"], instance__deleted_at=None)
    source = access.visible(user, rows).select_related("instance").first()
    return source is not None and access.allowed(user, Action.DOWNLOAD, source)


def weights_require(*, job: Job) -> None:
    """Raises Conflict when the owner may not use the weights that the job begins with any more."""
    if not weights_may(user=job.instance.owner, weights=job.weights):
        text = _(
            "The weights of #%(number)s, with which it begins, were deleted or are not shared any more."
        )
        raise Conflict("training:weights_gone", text % {"number": job.weights["job"]})


def weights_hold(*, job: Job) -> None:
    """Keep the weights that the job begins with from being removed by their age, for a while.

    Raises Gone once they are being removed.
    """
    weights = job.weights
    if weights:
        attempt = Attempt.objects.get(instance_id=weights["job"], number=weights["attempt"])
        lease_take(attempt=attempt, holder=f"weights:{job.pk}", hold=HOLD)


def weights_hold_waiting() -> int:
    """Hold what jobs that wait to begin are to begin with; returns for how many. Periodic."""
    rows = Job.objects.filter(
        instance__state__in=[str(state) for state in _WAITING], instance__deleted_at=None
    ).exclude(weights={})
    return sum(_held(job) for job in rows)


def _held(job: Job) -> bool:
    try:
        weights_hold(job=job)
    except (LoraForgeError, Attempt.DoesNotExist):
        return False  # gone: its start says so
    return True
