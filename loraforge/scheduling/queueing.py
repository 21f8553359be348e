"""The lock of the queue, and the order of one's own jobs in it."""

from typing import Literal

from django.db import transaction
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit, outbox
from loraforge.core.errors import Conflict
from loraforge.core.models import Setting
from loraforge.instances.models import Instance
from loraforge.instances.priorities import priority_class
from loraforge.instances.states import State

_LOCK = "scheduling.lock"
PLACE_TASK = "scheduling.instances_place"

Move = Literal["up", "down", "first", "last"]


def queue_lock() -> None:
    """Whoever decides about the queue or what it depends on waits here; until the end of the transaction.

    The lock row on PostgreSQL, the IMMEDIATE transaction on SQLite.
    """
    Setting.objects.get_or_create(name=_LOCK, defaults={"value": ""})
    Setting.objects.select_for_update().get(name=_LOCK)


@transaction.atomic
def queue_move(*, actor: User, instance: Instance, move: Move) -> Instance:
    """Let it go earlier or later among the waiting jobs of its owner of the same class; nobody else's move.

    Raises Conflict once it does not wait any more.
    """
    access.require(actor, Action.CHANGE, instance)
    queue_lock()
    waiting = list(
        Instance.objects.filter(owner=instance.owner_id, state=State.QUEUED, deleted_at=None)
        .exclude(queued_at=None)
        .order_by("queue_rank", "queued_at", "id")
        .only("pk", "priority", "queue_rank")
    )
    wanted = next((row for row in waiting if row.pk == instance.pk), None)
    if wanted is None:
        raise Conflict(
            "scheduling:not_waiting",
            _("#%(number)s does not wait any more.") % {"number": instance.pk},
        )
    own = [
        row for row in waiting if priority_class(row.priority) is priority_class(wanted.priority)
    ]
    before = own.index(wanted)
    after = {"up": max(0, before - 1), "down": before + 1, "first": 0, "last": len(own)}[move]
    own.remove(wanted)
    own.insert(after, wanted)
    after = own.index(wanted)
    if after != before:
        _ranks_store(own)
        audit.record(
            actor=actor,
            target=instance,
            what="scheduling:move",
            changes={"place among own": [before + 1, after + 1]},
        )
        outbox.task_enqueue(PLACE_TASK)
    instance.refresh_from_db()
    return instance


def _ranks_store(own: list[Instance]) -> None:
    """Below zero, so that what is queued later comes behind them."""
    for index, row in enumerate(own):
        row.queue_rank = index - len(own)
    Instance.objects.bulk_update(own, ["queue_rank"], batch_size=200)
