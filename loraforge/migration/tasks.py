"""Looks at what moves and what is emptied; each takes milliseconds, and may come late or twice."""

from loraforge.core import outbox
from loraforge.core.celery import control_task
from loraforge.migration.draining import DRAIN_TASK, drain_step
from loraforge.migration.models import Drain, Migration
from loraforge.migration.prefetching import prefetches_ask
from loraforge.migration.saga import migration_run
from loraforge.migration.services import STEP_TASK
from loraforge.migration.states import Ending


@control_task(STEP_TASK)
def migration_step_task(*, migration_id: int) -> None:
    """See `saga.migration_run`."""
    migration_run(migration_id=migration_id)


@control_task(DRAIN_TASK)
def drain_step_task(*, drain_id: int) -> None:
    """See `draining.drain_step`."""
    drain_step(drain_id=drain_id)


@control_task("migration.review")
def migrations_review_task() -> None:
    """Have every move and every drain looked at: the net under the hints that come with each change."""
    for pk in Migration.objects.filter(state=Ending.ACTIVE).values_list("pk", flat=True):
        outbox.task_enqueue(STEP_TASK, migration_id=pk)
    prefetches_ask()
    for pk in Drain.objects.filter(ended_at=None).values_list("pk", flat=True):
        outbox.task_enqueue(DRAIN_TASK, drain_id=pk)
