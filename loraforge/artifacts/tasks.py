"""Work on output files that talks to nodes and the storage, and the periodic removal; each takes seconds."""

from loraforge.artifacts import keeping
from loraforge.artifacts.removals import retention_sweep
from loraforge.artifacts.services import best_checkpoint_read
from loraforge.artifacts.wishes import SAVE_TASK
from loraforge.core import outbox
from loraforge.core.celery import control_task
from loraforge.instances.models import Attempt


@control_task("artifacts.best_checkpoint_read")
def best_checkpoint_read_task(*, attempt_id: int) -> None:
    """See `services.best_checkpoint_read`."""
    attempt = Attempt.objects.select_related("node").filter(pk=attempt_id).first()
    if attempt is not None:
        best_checkpoint_read(attempt=attempt)


@control_task(SAVE_TASK)
def results_save_task(*, instance_id: int) -> None:
    """One step of saving a job's results; the next is asked for at once."""
    if keeping.results_step(instance_id=instance_id).more:
        outbox.task_enqueue(SAVE_TASK, instance_id=instance_id)


@control_task("artifacts.results_sweep")
def results_sweep_task() -> None:
    """Go on with what nobody is at, and remove what is to go."""
    for instance_id in keeping.results_due():
        outbox.task_enqueue(SAVE_TASK, instance_id=instance_id)
    keeping.copies_remove()
    keeping.spool_sweep()


@control_task(keeping.REMOVE_TASK)
def copies_remove_task(*, instance_id: int) -> None:
    """Remove copies of an instance's results from the storage."""
    keeping.copies_remove(instance_id=instance_id)


@control_task("artifacts.retention_sweep")
def retention_sweep_task() -> None:
    """Tell of files that go soon, and remove those whose time has come."""
    retention_sweep()
