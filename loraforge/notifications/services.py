"""Writes of notifications."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.conf import settings
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import override

from loraforge.accounts.models import Role, User
from loraforge.core import live, outbox
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Instance, InstanceEvent
from loraforge.instances.states import MOVED, State, ends_attempt
from loraforge.migration.models import Drain, Migration
from loraforge.migration.states import Ending
from loraforge.nodes.models import Device, DiskLevel, Node
from loraforge.notifications.models import Notification
from loraforge.notifications.selectors import notice_frame, notification_get, notification_list

OPERATING_ROLES = [Role.OPERATOR, Role.ADMIN]
TOLD = {State.RUNNING, State.SUCCEEDED, State.FAILED, State.STOPPED, State.LOST}


def instance_moved(*, instance: Instance, event: InstanceEvent) -> None:
    """Tell the owner, in the transaction of the move: the new state always, and a notice of what matters.

    A node that comes back after silence is no start, so UNKNOWN -> RUNNING tells nothing.
    """
    outbox.frame_enqueue(live.topic_user(instance.owner_id), status_frame(instance))
    if event.target == State.QUEUED and ends_attempt(source=event.source, target=event.target):
        notification_create(instance=instance, what="retried")
    is_back = event.source == State.UNKNOWN and event.target == State.RUNNING
    is_move = event.reason == MOVED  # the stop and the start of a move are told as one, at its end
    if event.target in TOLD and not is_back and not is_move:
        notification_create(instance=instance, what=str(event.target))


def migration_ended(*, migration: Migration) -> None:
    """Subscriber of events.MIGRATION_ENDED: the owner is told, of a failure operators as well."""
    if migration.state == Ending.CANCELLED:
        return
    what = "migrated" if migration.state == Ending.DONE else "migration_failed"
    instance = Instance.objects.select_related("owner", "node").get(pk=migration.instance_id)
    places = {"source": migration.source.name, "target": migration.target.name}
    notification_create(instance=instance, what=what, **places)
    if migration.state == Ending.FAILED:
        values = {"number": instance.pk, "name": instance.name, **places}
        for person in _operators().exclude(pk=instance.owner_id):
            _create(user=person, instance=instance, what=what, values=values)


def drain_ended(*, drain: Drain) -> None:
    """Subscriber of events.DRAIN_ENDED: operators may switch the node off now."""
    for person in _operators():
        _create(user=person, instance=None, what="node_drained", values={"node": drain.node.name})


def _operators() -> QuerySet[User]:
    return User.objects.filter(is_active=True, role__in=OPERATING_ROLES)


def files_go_soon(*, instance: Instance, at: datetime) -> None:
    """Subscriber of events.FILES_GO_SOON: the owner may still download them, or keep them."""
    notification_create(instance=instance, what="files_go_soon", date=f"{at:%Y-%m-%d}")


def node_disk_changed(*, node: Node, before: DiskLevel) -> None:
    """Subscriber of events.NODE_DISK_CHANGED: operators are told when it gets worse."""
    level = DiskLevel(node.disk_level)
    if level is DiskLevel.FINE or (before is DiskLevel.LOW and level is DiskLevel.WARNING):
        return
    free_percent = node.disk_free_bytes * 100 // max(1, node.disk_total_bytes)
    for person in _operators():
        _create(
            user=person,
            instance=None,
            what=f"node_disk_{level}",
            values={"node": node.name, "percent": free_percent},
        )


def node_gpu_sick(*, node: Node, device: Device, kind: str) -> None:
    """Subscriber of events.NODE_GPU_SICK: operators are told once, when it begins."""
    for person in User.objects.filter(is_active=True, role__in=OPERATING_ROLES):
        _create(
            user=person,
            instance=None,
            what="node_gpu_sick",
            values={"node": node.name, "gpu": device.index, "kind": kind},
        )


def budget_reached(
    *, people: Sequence[User], budget: str, level: str, percent: int, limit: str
) -> None:
    """Subscriber of events.BUDGET_REACHED: each of whose jobs the budget is about."""
    for person in people:
        _create(
            user=person,
            instance=None,
            what=f"budget_{level}",
            values={"budget": budget, "percent": percent, "limit": limit},
        )


def notification_create(*, instance: Instance, what: str, **values: str) -> Notification:
    """A row for the instance's owner and a frame in the language that they chose."""
    return _create(
        user=instance.owner,
        instance=instance,
        what=what,
        values={
            "number": instance.pk,
            "name": instance.name,
            "node": instance.node.name if instance.node else "",
            "reason": instance.failure_reason,
            "saved_step": instance.saved_step,
            "retries": instance.retries,
            **values,
        },
    )


def _create(
    *, user: User, instance: Instance | None, what: str, values: dict[str, Any]
) -> Notification:
    row = Notification.objects.create(
        user=user, instance=instance, what=what, values=values, created_at=timezone.now()
    )
    with override(user.language or settings.LANGUAGE_CODE):
        outbox.frame_enqueue(live.topic_user(user.pk), notice_frame(row))
    return row


def notification_read(*, actor: User, notification_id: int) -> Notification:
    """Mark one as read; a second time changes nothing. Raises NotFound."""
    row = notification_get(user=actor, notification_id=notification_id)
    if row.read_at is None:
        row.read_at = timezone.now()
        row.save(update_fields=["read_at"])
    return row


def notifications_read_all(*, actor: User) -> int:
    """Mark all of one's own as read; returns how many were not."""
    return notification_list(user=actor).filter(read_at=None).update(read_at=timezone.now())
