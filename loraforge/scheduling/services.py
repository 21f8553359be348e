"""Placing what waits."""

from collections import Counter
from collections.abc import Iterable

from django.conf import settings
from django.db import IntegrityError, transaction

from loraforge.core import live, outbox
from loraforge.core.errors import Conflict
from loraforge.core.models import Setting
from loraforge.instances.frames import status_frame
from loraforge.instances.models import DeviceLease, Instance
from loraforge.instances.services import instance_assign
from loraforge.instances.states import ACTIVE, State
from loraforge.nodes.models import Device, DeviceKind, Node, NodeState
from loraforge.scheduling.policy import Caps, Decision, Place, Slot, Waits, Want, decide

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
        waiting = {row.pk: row for row in waiting_list()}
        decision = decide(
            wants=[want_of(row) for row in waiting.values()],
            places=places_now(),
            active=active_by_owner(),
            caps=caps_now(),
        )
        started = _assign(decision=decision, waiting=waiting)
        for wait in decision.waits:
            _reason_store(instance=waiting[wait.id], wait=wait)
    return started


def waiting_list() -> Iterable[Instance]:
    """The queue, in no particular order."""
    return Instance.objects.filter(state=State.QUEUED, deleted_at=None).exclude(queued_at=None)


def want_of(instance: Instance) -> Want:
    """What the policy needs to know of an instance."""
    if instance.queued_at is None:
        message = f"{instance} is queued since never"
        raise ValueError(message)
    return Want(
        id=instance.pk,
        owner=instance.owner_id,
        queued_at=instance.queued_at,
        gpus=instance.gpus,
        priority=instance.priority,
        node=instance.wanted_node_id,
        devices=tuple(instance.wanted_devices),
    )


def places_now() -> list[Place]:
    """All nodes with the devices that are there; three queries."""
    held = set(DeviceLease.objects.filter(released_at=None).values_list("node_id", "device_uuid"))
    slots: dict[int, list[Slot]] = {}
    for device in Device.objects.filter(present=True).order_by("node_id", "index"):
        slot = Slot(
            uuid=device.uuid,
            is_gpu=device.kind == DeviceKind.GPU,
            free=(device.node_id, device.uuid) not in held,
        )
        slots.setdefault(device.node_id, []).append(slot)
    return [
        Place(
            id=node.pk,
            name=node.name,
            takes=node.state == NodeState.ONLINE,
            cordoned=node.cordoned,
            slots=tuple(slots.get(node.pk, [])),
        )
        for node in Node.objects.exclude(state=NodeState.NEW)
    ]


def active_by_owner() -> Counter[int]:
    """owner id -> how many of theirs hold devices or are on the way to."""
    rows = Instance.objects.filter(state__in=[str(state) for state in ACTIVE])
    return Counter(rows.values_list("owner_id", flat=True))


def caps_now() -> Caps:
    """The caps by settings."""
    return Caps(total=settings.MAX_RUNNING, per_owner=settings.MAX_RUNNING_PER_USER)


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
