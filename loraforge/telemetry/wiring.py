"""What this app tells lower floors at the start."""

from loraforge.core import beat, events, outbox
from loraforge.instances.models import Instance, InstanceEvent
from loraforge.instances.states import ends_attempt

COMPACT_TASK = "telemetry.log_compact"
THIN_TASK = "telemetry.samples_thin"
THIN_EVERY_S = 600.0


def instance_moved(*, instance: Instance, event: InstanceEvent) -> None:
    """A log that has ended is kept in fewer, larger rows."""
    if event.attempt and ends_attempt(source=event.source, target=event.target):
        outbox.task_enqueue(COMPACT_TASK, instance_id=instance.pk, attempt=event.attempt)


events.subscribe(events.INSTANCE_MOVED, instance_moved)
beat.every(THIN_EVERY_S, THIN_TASK)
