"""Of a job that runs: its newest whole checkpoint in the platform's storage too, whatever becomes of the node.

`keeping` copies it, as it does the results of one that has ended; a job whose node died is resumed from it
elsewhere. What still grows (its log) is left out until the end.
"""

from datetime import timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from loraforge.artifacts.models import OutputFile, ResultCopy, ResultSaving
from loraforge.artifacts.results import Candidate
from loraforge.artifacts.wishes import SAVE_TASK
from loraforge.core import outbox
from loraforge.instances.models import Instance
from loraforge.instances.states import TERMINAL, State


def is_live(instance: Instance) -> bool:
    """Its files may still change."""
    return State(instance.state) not in TERMINAL


@transaction.atomic
def replica_want(*, instance: Instance) -> None:
    """A new checkpoint is in the manifest: have it copied, no oftener than the setting says (0 = never)."""
    every = timedelta(seconds=settings.REPLICATE_EVERY_S)
    if not every or not is_live(instance) or instance.deleted_at is not None:
        return
    now = timezone.now()
    saving = ResultSaving.objects.filter(instance=instance).first()
    last = saving.planned_at if saving is not None else None
    next_at = now if last is None else max(now, last + every)
    ResultSaving.objects.update_or_create(
        instance=instance,
        defaults={"wanted_at": now, "done_at": None, "next_at": next_at, "trouble": "", "waits": 0},
    )
    if next_at <= now:
        outbox.task_enqueue(SAVE_TASK, instance_id=instance.pk)


def candidates_of(instance: Instance) -> list[Candidate]:
    """Whole files of an instance that may be saved now."""
    files = OutputFile.objects.filter(attempt__instance=instance, is_cut=False).filter(
        Q(removed_at=None) | Q(copy__state=ResultCopy.State.KEPT)
    )
    if is_live(instance):
        files = files.filter(Q(attempt__ended_at__isnull=False) | Q(path__contains="checkpoint-"))
    values = files.values_list("pk", "attempt__number", "path", "size_bytes")
    return [
        Candidate(file_id=pk, attempt=number, path=path, size_bytes=size)
        for pk, number, path, size in values
    ]
