"""Moving a training between nodes: devices that are held beyond an attempt's end, and the switch itself.

The next attempt begins only where the one before is known to be over, in one transaction with its number.
"""

from collections.abc import Sequence

from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.core import outbox
from loraforge.core.errors import Conflict
from loraforge.instances.models import Attempt, DeviceLease, Instance
from loraforge.instances.services import START_TASK
from loraforge.instances.states import ACTIVE, RETRYABLE, State
from loraforge.instances.transitions import PLACE_TASK, instance_move

# What the current attempt left behind when it is over and the instance may go on.
SWITCHABLE = RETRYABLE - {State.LOST} | {State.QUEUED}


@transaction.atomic
def devices_hold(*, attempt: Attempt, devices: Sequence[str], node_id: int) -> None:
    """Lease devices of another node for this running attempt's successor, and hold its own as well.

    Raises IntegrityError when one is taken, Conflict when the attempt has gone on.
    """
    instance = Instance.objects.select_for_update().get(pk=attempt.instance_id)
    if instance.attempt != attempt.number or State(instance.state) not in ACTIVE:
        raise _gone_on(instance)
    held = set(
        DeviceLease.objects.filter(
            attempt=attempt, node=node_id, released_at=None, is_held=True
        ).values_list("device_uuid", flat=True)
    )
    DeviceLease.objects.bulk_create(
        DeviceLease(node_id=node_id, device_uuid=device, attempt=attempt, is_held=True)
        for device in devices
        if device not in held
    )
    DeviceLease.objects.filter(attempt=attempt, released_at=None).update(is_held=True)


@transaction.atomic
def devices_let_go(*, instance: Instance) -> int:
    """Hold them no longer: what the instance's live attempt runs on stays its own, the rest is free."""
    rows = DeviceLease.objects.filter(attempt__instance=instance, released_at=None, is_held=True)
    current = Instance.objects.get(pk=instance.pk)
    own = rows.filter(attempt__number=current.attempt, node=F("attempt__node"))
    if State(current.state) in ACTIVE:
        # ids first: an UPDATE over a join is none
        DeviceLease.objects.filter(pk__in=list(own.values_list("pk", flat=True))).update(
            is_held=False
        )
    ids = list(rows.values_list("pk", flat=True))
    freed = DeviceLease.objects.filter(pk__in=ids).update(released_at=timezone.now(), is_held=False)
    if freed:
        outbox.task_enqueue(PLACE_TASK)
    return freed


@transaction.atomic
def instance_switch(
    *,
    instance: Instance,
    attempt: int,
    node_id: int,
    devices: Sequence[str],
    step: int,
    reason: str,
) -> Attempt:
    """The next attempt, on the devices held at this node, of an instance whose attempt ``attempt`` is over.

    step: where it goes on. Raises Conflict when the instance has gone on, IntegrityError when the devices
    are not held any more and somebody else has one.
    """
    fresh = Instance.objects.select_for_update().get(pk=instance.pk)
    if fresh.attempt != attempt or State(fresh.state) not in SWITCHABLE or fresh.deleted_at:
        raise _gone_on(fresh)
    if fresh.state != State.QUEUED:
        fresh = instance_move(
            instance=fresh,
            target=State.QUEUED,
            sources=SWITCHABLE,
            reason=reason,
            step=step,
            max_steps=fresh.max_steps,
        )
    number = attempt + 1
    if not Instance.objects.filter(pk=fresh.pk, attempt=attempt).update(attempt=number):
        raise _gone_on(fresh)
    made = Attempt.objects.create(
        instance=fresh,
        number=number,
        node_id=node_id,
        devices=list(devices),
        queued_at=timezone.now(),
    )
    _devices_pass(made)
    instance_move(
        instance=fresh,
        target=State.ASSIGNED,
        attempt=number,
        sources=frozenset({State.QUEUED}),
        reason=reason,
        node=made.node,
        step=step,
        wait_reason="",
        wait_detail={},
    )
    outbox.task_enqueue(START_TASK, instance_id=fresh.pk, attempt=number)
    return made


def _devices_pass(made: Attempt) -> None:
    """New leases in place of those that were held: what an attempt has used is metered by its own."""
    held = DeviceLease.objects.filter(
        attempt__instance=made.instance, node=made.node, released_at=None, is_held=True
    )
    held.filter(device_uuid__in=made.devices).update(released_at=timezone.now(), is_held=False)
    DeviceLease.objects.bulk_create(
        DeviceLease(node=made.node, device_uuid=device, attempt=made, is_held=True)
        for device in made.devices
    )


def _gone_on(instance: Instance) -> Conflict:
    text = _("#%(number)s was changed meanwhile.") % {"number": instance.pk}
    return Conflict("instances:wrong_state", text)
