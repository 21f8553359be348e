"""Jobs that have run for as long as they may: each is stopped, with a checkpoint."""

from collections import defaultdict
from datetime import datetime, timedelta

from django.utils import timezone

from loraforge.core.errors import Conflict
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.services import instance_stop
from loraforge.instances.states import State
from loraforge.training.faults import RUN_TIME_EXCEEDED
from loraforge.training.models import Job


def runs_review(*, now: datetime | None = None) -> int:
    """Stop what is over its time, saved; returns how many. Asked for again at every look until it ends.

    What the system's own attempts took before counts as well; a person's retry begins anew. A job whose
    node is silent is stopped once it is heard again.
    """
    now = now or timezone.now()
    rows = Job.objects.filter(
        run_limit_s__gt=0,
        instance__state=State.RUNNING,
        instance__started_at__lt=now,
        instance__deleted_at=None,
    ).select_related("instance")
    limited = list(rows)
    earlier = _earlier_runs([job.instance for job in limited])
    return sum(
        _stop(job.instance)
        for job in limited
        if _ran(job.instance, now) + earlier[job.pk] >= timedelta(seconds=job.run_limit_s)
    )


def _ran(instance: Instance, now: datetime) -> timedelta:
    return now - instance.started_at if instance.started_at is not None else timedelta()


def _earlier_runs(instances: list[Instance]) -> defaultdict[int, timedelta]:
    """How long the attempts ran that the system has replaced since a person last queued it."""
    retried = {one.pk: one for one in instances if one.retries}
    spent: defaultdict[int, timedelta] = defaultdict(timedelta)
    for attempt in Attempt.objects.filter(instance__in=retried):
        instance = retried[attempt.instance_id]
        is_series = instance.attempt - instance.retries <= attempt.number < instance.attempt
        if is_series and attempt.running_at is not None and attempt.ended_at is not None:
            spent[attempt.instance_id] += attempt.ended_at - attempt.running_at
    return spent


def _stop(instance: Instance) -> bool:
    try:
        instance_stop(actor=None, instance=instance, mode="save", reason=RUN_TIME_EXCEEDED)
    except Conflict:
        return False  # it has ended, or somebody stops it
    return True
