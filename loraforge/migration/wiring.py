"""Whose the rows of this app are, and what it hears of; imported once by AppConfig.ready()."""

from loraforge.accounts import access
from loraforge.core import beat, events, outbox
from loraforge.instances.models import Instance, InstanceEvent
from loraforge.migration.draining import node_brought_back
from loraforge.migration.models import Migration
from loraforge.migration.services import STEP_TASK
from loraforge.migration.states import Ending


def instance_moved(*, instance: Instance, event: InstanceEvent) -> None:
    """Subscriber of events.INSTANCE_MOVED: a move waits for some of them."""
    rows = Migration.objects.filter(instance=instance, state=Ending.ACTIVE)
    for pk in rows.values_list("pk", flat=True):
        outbox.task_enqueue(STEP_TASK, migration_id=pk)


access.register(
    Migration,
    access.Ownership(
        owner="instance__owner",
        anchor="instance",
        anchor_model=Instance,
        share_permission="download_instance",
    ),
)
events.subscribe(events.INSTANCE_MOVED, instance_moved)
events.subscribe(events.NODE_BROUGHT_BACK, node_brought_back)
beat.every(5, "migration.review")
