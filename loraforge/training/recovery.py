"""The system's own next attempt: called in the transaction in which an attempt's end is judged."""

from django.db import transaction

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.core.errors import Conflict
from loraforge.instances.models import Attempt, InstanceEvent
from loraforge.instances.recovering import instance_recover
from loraforge.swift.compiler import accumulation_default
from loraforge.training import policy
from loraforge.training.models import Job, JobDataset
from loraforge.training.resuming import resume_newest
from loraforge.training.weights import weights_require


@transaction.atomic
def attempt_recover(*, attempt: Attempt, reason: str, detail: str) -> bool:
    """Queue the next attempt of a job whose attempt has failed, if the system does that by itself.

    It goes on from the newest whole checkpoint that can be had now, else it begins anew. False leaves
    everything as it is: the caller moves the instance to its end. Why the system did not, though it would
    have, stands in an event.
    """
    job = Job.objects.select_for_update().filter(pk=attempt.instance_id).first()
    if job is None:
        return False
    job.instance = attempt.instance
    plan = policy.plan(_ended(job, attempt, reason))
    if plan.refused:
        _tell(attempt, plan.refused)
    if not plan.retry or not _may_run(job):
        return False
    avoid = {} if plan.avoid is None else {attempt.node_id: plan.avoid}
    try:
        with transaction.atomic():
            resume = resume_newest(job=job)
            if resume is None:
                weights_require(job=job)
            instance_recover(
                attempt=attempt,
                reason=reason,
                detail=detail,
                avoid=avoid,
                step=resume.step if resume else 0,
            )
    except Conflict:
        return False  # somebody ended it meanwhile, or the weights that it begins with are gone
    if plan.batch is not None:
        _batch_set(job, plan.batch)
    return True


def _ended(job: Job, attempt: Attempt, reason: str) -> policy.Ended:
    return policy.Ended(
        reason=reason,
        retries=attempt.instance.retries,
        stopped=bool(attempt.stop_requested),
        may_halve=job.oom_recovery,
        was_halved=bool(job.adjusted),
        batch=batch_of(job),
    )


def batch_of(job: Job) -> policy.Batch:
    """What a step takes now: as given, else what SWIFT chooses by itself."""
    given = {**job.arguments, **job.adjusted}
    rows = _whole(given.get(policy.BATCH), 1)
    chosen = accumulation_default(
        rows=rows, world=job.instance.processes, rlhf_type=given.get("rlhf_type")
    )
    return policy.Batch(rows=rows, accumulation=_whole(given.get(policy.ACCUMULATION), chosen))


def _whole(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) and value > 0 else otherwise


def _batch_set(job: Job, batch: policy.Batch) -> None:
    job.adjusted = {policy.BATCH: batch.rows, policy.ACCUMULATION: batch.accumulation}
    Job.objects.filter(pk=job.pk).update(adjusted=job.adjusted)


def _may_run(job: Job) -> bool:
    """Not on a dataset that its owner may not use any more, nor for somebody who may start nothing now."""
    owner = job.instance.owner
    rows = JobDataset.objects.filter(job=job).select_related("dataset")
    return access.may(owner, Action.CREATE) and all(
        row.dataset.deleted_at is None and access.allowed(owner, Action.DOWNLOAD, row.dataset)
        for row in rows
    )


def _tell(attempt: Attempt, refused: policy.Refused) -> None:
    InstanceEvent.objects.create(
        instance_id=attempt.instance_id, attempt=attempt.number, reason=str(refused)
    )
