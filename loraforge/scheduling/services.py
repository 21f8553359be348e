"""Placing what waits."""

from collections.abc import Sequence

from django.db import IntegrityError, transaction

from loraforge.core import live, outbox
from loraforge.core.errors import Conflict
from loraforge.core.models import Setting
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_assign
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.scheduling import selectors
from loraforge.scheduling.policy import Decision, Waits, decide

_LOCK = "scheduling.lock"
BATCH = 200  # rows of one UPDATE


def instances_place() -> int:
    """Give devices to whoever may go now, note why the others wait; returns how many go.

    One at a time over all workers: the lock row on PostgreSQL, the IMMEDIATE transaction on SQLite.
    """
    if not Instance.objects.filter(state=State.QUEUED, deleted_at=None).exists():
        return 0  # most hints come for nothing; they take no lock
    with transaction.atomic():
        Setting.objects.get_or_create(name=_LOCK, defaults={"value": ""})
        Setting.objects.select_for_update().get(name=_LOCK)
        waiting = {row.pk: row for row in selectors.waiting_list()}
        decision = decide(
            wants=selectors.wants_of(waiting.values()),
            places=selectors.places_now(),
            active=selectors.active_by_owner(),
            caps=selectors.caps_now(),
        )
        started = _assign(decision=decision, waiting=waiting)
        _reasons_store(waiting=waiting, waits=decision.waits)
    return started


def _assign(*, decision: Decision, waiting: dict[int, Instance]) -> int:
    nodes = Node.objects.in_bulk({placed.node for placed in decision.placed})
    started = 0
    for placed in decision.placed:
        try:
            with transaction.atomic():
                instance_assign(
                    instance=waiting[placed.id], node=nodes[placed.node], devices=placed.devices
                )
        except (IntegrityError, Conflict):
            continue  # withdrawn, or the device taken, since it was read; the next hint looks again
        started += 1
    return started


def _reasons_store(*, waiting: dict[int, Instance], waits: Sequence[Waits]) -> None:
    """Note the reasons that are new and tell them; every place in the queue moves when one job starts.

    Three queries for however many wait. Rows that were withdrawn meanwhile are left as they are: those
    that are changed here stay locked until the commit.
    """
    changed = {}
    for wait in waits:
        instance = waiting[wait.id]
        if (instance.wait_reason, instance.wait_detail) != (wait.reason, wait.detail):
            instance.wait_reason, instance.wait_detail = wait.reason, wait.detail
            changed[instance.pk] = instance
    if not changed:
        return
    queued = Instance.objects.filter(state=State.QUEUED)
    queued.bulk_update(changed.values(), ["wait_reason", "wait_detail"], batch_size=BATCH)
    outbox.frames_enqueue(
        (live.topic_job(pk), status_frame(changed[pk]))
        for pk in queued.filter(pk__in=changed).values_list("pk", flat=True)
    )
