"""That the results of an instance are to be saved; `keeping` does it."""

from django.db import transaction
from django.utils import timezone

from loraforge.artifacts.models import ResultSaving
from loraforge.core import outbox
from loraforge.instances.models import Instance

SAVE_TASK = "artifacts.results_save"


@transaction.atomic
def results_want(*, instance: Instance) -> None:
    """An attempt has ended for good, or its last manifest has come late: decide anew what to save.

    Of a job that was deleted nothing is saved.
    """
    if instance.deleted_at is not None:
        return
    now = timezone.now()
    ResultSaving.objects.update_or_create(
        instance=instance,
        defaults={"wanted_at": now, "done_at": None, "next_at": now, "trouble": "", "waits": 0},
    )
    outbox.task_enqueue(SAVE_TASK, instance_id=instance.pk)
