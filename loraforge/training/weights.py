"""Training on from another job's weights: which ones, whether they fit, and that they are there when needed.

A new job with a schedule of its own: optimizer, learning rate and steps begin anew (`launch.Resume.job`).
"""

from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.artifacts.checkpoints import ADAPTER
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
from loraforge.training.modules import is_training

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


@dataclass(frozen=True, kw_only=True)
class Found:
    """A checkpoint of another job, and that job."""

    source: Job
    resume: Resume

    @property
    def kind(self) -> str:
        """As `JobFacts` has it."""
        return "whole" if self.resume.is_whole else "adapter"


def checkpoint_find(*, user: User, named: str, field: str, findings: Findings) -> Found | None:
    """The checkpoint ``<job>`` (its newest) or ``<job>:<attempt>:<step>``; None = it cannot be had, and why is said."""
    number, colon, checkpoint = named.partition(":")
    is_number = number.isascii() and number.isdecimal() and len(number) <= _NUMBER_MAX
    if not is_number or bool(colon) != bool(checkpoint):
        text = _("Weights are those of <job> or <job>:<attempt>:<step>, for instance 41:1:400.")
        findings.refuse(field, text)
        return None
    source = _source(user, int(number), field, findings)
    if source is None:
        return None
    try:
        choice = choice_made(choices_of(source), wanted=checkpoint or None, weights_only=True)
    except LoraForgeError as error:
        findings.refuse(field, error.message)
        return None
    made = resume_made(source, choice.checkpoint, weights_only=True)
    is_adapter = any(file.path.endswith(f"/{ADAPTER[0]}") for file in made.files)
    return Found(
        source=source,
        resume=msgspec.structs.replace(made, job=source.pk, is_whole=not is_adapter),
    )


def weights_find(*, user: User, draft: JobDraft, findings: Findings) -> Found | None:
    """The checkpoint whose weights the draft begins with, or works on; None = none, or a bad one."""
    if not draft.weights_from:
        return None
    return checkpoint_find(
        user=user, named=draft.weights_from, field="weights_from", findings=findings
    )


def weights_fit(
    *, found: Found | None, draft: JobDraft, wanted: Wanted, findings: Findings
) -> Resume | None:
    """What of the checkpoint is frozen on the job; None where it does not fit the draft."""
    if found is None or not _fits(
        found.source, wanted, findings, trains=is_training(draft.command)
    ):
        return None
    return found.resume


def based_on(draft: JobDraft, found: Found | None) -> JobDraft:
    """What does not train needs no base model of its own: the checkpoint's is meant."""
    if found is None or draft.model or is_training(draft.command):
        return draft
    source = found.source
    return replace(
        draft,
        model=source.model,
        model_hub=source.model_hub,
        model_type=draft.model_type or source.model_type,
        template=draft.template or source.template,
    )


def _source(user: User, number: int, field: str, findings: Findings) -> Job | None:
    rows = Job.objects.filter(pk=number, instance__deleted_at=None)
    found = access.visible(user, rows).select_related("instance__owner").first()
    if found is None:
        text = _("There is no job #%(number)s. Choose one that you may see, or leave it out.")
        findings.refuse(field, text % {"number": number})
        return None
    if not access.allowed(user, Action.DOWNLOAD, found):
        text = _("Only the owner of #%(number)s may train on from it. Ask them to share it.")
        findings.refuse(field, text % {"number": number})
        return None
    return found


def _fits(source: Job, wanted: Wanted, findings: Findings, *, trains: bool) -> bool:
    """An adapter is nothing without the model and the method that it was trained with."""
    if (source.model, source.model_hub) != (wanted.model, wanted.model_hub):
        text = _("The weights of #%(number)s belong to %(model)s. Choose it as the base model.")
        findings.refuse("weights_from", text % {"number": source.pk, "model": source.model})
        return False
    if not trains:
        return True
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


def _borrowed(job: Job, *, begins: bool = True) -> list[dict[str, Any]]:
    """Checkpoints of other jobs that it needs. begins: the one that it begins with among them."""
    beside = [one["checkpoint"] for one in job.extra_models if one.get("checkpoint")]
    return [*([job.weights] if begins and job.weights else []), *beside]


def weights_require(*, job: Job, resume: Resume | None = None) -> None:
    """Raises Conflict when the owner may not use weights of other jobs any more that its next attempt needs.

    resume: what that goes on from; None = it begins at the beginning.
    """
    for weights in _borrowed(job, begins=resume is None or bool(resume.job)):
        if not weights_may(user=job.instance.owner, weights=weights):
            text = _(
                "The weights of #%(number)s, with which it begins, were deleted or are not shared any more."
            )
            raise Conflict("training:weights_gone", text % {"number": weights["job"]})


def weights_hold(*, job: Job) -> None:
    """Keep the weights of other jobs that it needs from being removed by their age, for a while.

    Raises Gone once they are being removed.
    """
    for weights in _borrowed(job):
        attempt = Attempt.objects.get(instance_id=weights["job"], number=weights["attempt"])
        lease_take(attempt=attempt, holder=f"weights:{job.pk}", hold=HOLD)


def weights_hold_waiting() -> int:
    """Hold what jobs that wait to begin are to begin with; returns for how many. Periodic."""
    rows = Job.objects.filter(
        instance__state__in=[str(state) for state in _WAITING], instance__deleted_at=None
    ).exclude(weights={}, extra_models=[])
    return sum(_held(job) for job in rows)


def _held(job: Job) -> bool:
    try:
        weights_hold(job=job)
    except (LoraForgeError, Attempt.DoesNotExist):
        return False  # gone: its start says so
    return True
