"""Placing what waits."""

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
            wants=[selectors.want_of(row) for row in waiting.values()],
            places=selectors.places_now(),
            active=selectors.active_by_owner(),
            caps=selectors.caps_now(),
        )
        started = _assign(decision=decision, waiting=waiting)
        for wait in decision.waits:
            _reason_store(instance=waiting[wait.id], wait=wait)
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


def _reason_store(*, instance: Instance, wait: Waits) -> None:
    if (instance.wait_reason, instance.wait_detail) == (wait.reason, wait.detail):
        return
    changed = Instance.objects.filter(pk=instance.pk, state=State.QUEUED).update(
        wait_reason=wait.reason, wait_detail=wait.detail
    )
    if changed:
        instance.wait_reason, instance.wait_detail = wait.reason, wait.detail
        outbox.frame_enqueue(live.topic_job(instance.pk), status_frame(instance))
