"""Periodic and later work; each may run twice."""

from loraforge.core.celery import control_task
from loraforge.instances.models import Attempt
from loraforge.telemetry import services
from loraforge.telemetry.compacting import log_compact
from loraforge.telemetry.wiring import COMPACT_TASK, THIN_TASK


@control_task(COMPACT_TASK)
def log_compact_task(*, instance_id: int, attempt: int) -> None:
    """Merge the rows of an ended attempt's log."""
    row = Attempt.objects.filter(instance=instance_id, number=attempt).first()
    if row is not None:
        log_compact(attempt=row)


@control_task(THIN_TASK)
def samples_thin_task() -> None:
    """Thin out old readings."""
    services.samples_thin()
