"""In-process events by which a lower app lets a higher one act in the same transaction, without importing it.

Handlers subscribe in their AppConfig.ready(); they write SQL only (rows, outbox), never talk to the outside.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

Handler = Callable[..., None]

_handlers: dict[str, list[Handler]] = defaultdict(list)

INSTANCE_MOVED = "instance.moved"  # instance=Instance, event=InstanceEvent
DATASET_DELETING = "dataset.deleting"  # dataset=Dataset; a subscriber that needs it raises Conflict
DATASET_USED = (
    "dataset.used"  # dataset=Dataset, found=list[str]: a subscriber adds who uses it, in words
)
INSTANCE_DELETED = "instance.deleted"  # instance=Instance, files=bool
FILES_GO_SOON = "files.go_soon"  # instance=Instance, at=datetime: when its files are removed
NODE_DISK_CHANGED = "node.disk_changed"  # node=Node, before=DiskLevel
NODE_GPU_SICK = "node.gpu_sick"  # node=Node, device=Device, kind=str: of the mark that is new
# people=list[User], budget, level, limit=str, percent=int: a month's budget is nearly, or all, used up
BUDGET_REACHED = "budget.reached"
NODE_BROUGHT_BACK = "node.brought_back"  # node=Node: a person lets it take new work again
MIGRATION_ENDED = "migration.ended"  # migration=Migration: moved, or it came to nothing
DRAIN_ENDED = "drain.ended"  # drain=Drain
NODE_STATE_CHANGED = "node.state_changed"  # node=Node, before=NodeState


def subscribe(event: str, handler: Handler) -> None:
    """Call ``handler(**facts)`` at every ``emit`` of this event."""
    if handler not in _handlers[event]:
        _handlers[event].append(handler)


def emit(event: str, /, **facts: Any) -> None:
    """Call every handler now, in the caller's transaction; an exception of one rolls all back."""
    for handler in _handlers[event]:
        handler(**facts)
