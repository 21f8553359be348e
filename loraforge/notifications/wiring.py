"""What this app tells lower floors at the start."""

from loraforge.accounts.ownership import Ownership, register
from loraforge.core import events
from loraforge.notifications.models import Notification
from loraforge.notifications.services import (
    budget_reached,
    drain_ended,
    files_go_soon,
    instance_moved,
    migration_ended,
    node_disk_changed,
    node_gpu_sick,
)

register(Notification, Ownership(owner="user"))
events.subscribe(events.INSTANCE_MOVED, instance_moved)
events.subscribe(events.FILES_GO_SOON, files_go_soon)
events.subscribe(events.NODE_DISK_CHANGED, node_disk_changed)
events.subscribe(events.NODE_GPU_SICK, node_gpu_sick)
events.subscribe(events.BUDGET_REACHED, budget_reached)
events.subscribe(events.MIGRATION_ENDED, migration_ended)
events.subscribe(events.DRAIN_ENDED, drain_ended)
