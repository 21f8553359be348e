"""Going on from a checkpoint: the next attempt runs the same frozen command, on the same curve."""

from django.db import transaction
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit
from loraforge.core.errors import Conflict
from loraforge.instances import services as instances
from loraforge.instances.models import Instance
from loraforge.instances.states import RETRYABLE
from loraforge.training.choosing import CheckpointChoice, choice_made, choices_of, resume_made
from loraforge.training.launch import Resume, resume_store
from loraforge.training.models import Job
from loraforge.training.services import datasets_require


def checkpoints_list(*, user: User, job: Job) -> list[CheckpointChoice]:
    """All checkpoints of a job, newest first, also those that cannot be resumed. Raises NotFound.

    A constant number of queries.
    """
    access.require(user, Action.VIEW, job)
    return choices_of(job)


def checkpoint_latest(*, job: Job) -> CheckpointChoice | None:
    """The newest complete checkpoint whose files can be had now; None when there is none."""
    return next((one for one in choices_of(job) if one.can_resume), None)


@transaction.atomic
def job_resume(
    *,
    actor: User | None,
    job: Job,
    checkpoint: str | None = None,
    weights_only: bool = False,
) -> Job:
    """Queue the next attempt of a stopped, failed or lost job, to go on from a checkpoint.

    actor None = the platform itself. checkpoint: ``<attempt>:<step>``; None = the newest that can be
    had. weights_only: optimizer and learning rate begin anew. Raises Invalid, NotFound for another
    checkpoint, Conflict when there is none, it is not complete, or a dataset is gone.
    """
    if actor is not None:
        access.require(actor, Action.CHANGE, job)
    # Refreshed under a lock: two that press at once make one attempt.
    job.instance = Instance.objects.select_for_update().get(pk=job.pk)
    if job.instance.state not in RETRYABLE or job.instance.deleted_at is not None:
        text = _("Only a stopped, failed or lost job can be resumed. Reload the page.")
        raise Conflict("training:not_resumable", text)
    datasets_require(job=job)
    choice = choice_made(choices_of(job), wanted=checkpoint, weights_only=weights_only)
    resume = resume_made(job, choice.checkpoint, weights_only=weights_only)
    resume_store(job=job, attempt=job.instance.attempt + 1, resume=resume)
    said = f"checkpoint-{resume.step}, attempt {resume.attempt}"
    job.instance = instances.instance_queue(
        actor=actor,
        instance=job.instance,
        reason="resume:weights_only" if weights_only else "resume:checkpoint",
        detail=said,
        step=resume.step,
        max_steps=job.instance.max_steps,
    )
    audit.record(
        actor=actor,
        target=job,
        what="training:resume",
        changes={"checkpoint": [None, said], "weights_only": [None, weights_only]},
    )
    return job


@transaction.atomic
def resume_newest(*, job: Job) -> Resume | None:
    """For the system's own next attempt: have it go on from the newest checkpoint that can be had.

    Moves nothing; the caller queues the attempt in the same transaction, from the step of the answer on.
    None = there is no such checkpoint, and the next attempt begins at the beginning.
    """
    resume = resume_find(job=job)
    resume_store(job=job, attempt=job.instance.attempt + 1, resume=resume)
    return resume


def resume_find(*, job: Job, at: tuple[int, int] | None = None) -> Resume | None:
    """What a next attempt would go on from: the newest that can be had, or that of this (attempt, step).

    Of the latter nobody asks whether its node answers. None = there is no such checkpoint.
    """
    if at is None:
        choice = checkpoint_latest(job=job)
        return None if choice is None else resume_made(job, choice.checkpoint, weights_only=False)
    known = (choice.checkpoint for choice in choices_of(job))
    found = next((one for one in known if (one.attempt, one.step) == at and one.is_complete), None)
    return None if found is None else resume_made(job, found, weights_only=False)
