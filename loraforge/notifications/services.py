"""Writes of notifications."""

from django.conf import settings
from django.utils import timezone
from django.utils.translation import override

from loraforge.accounts.models import User
from loraforge.core import live, outbox
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Instance, InstanceEvent
from loraforge.instances.states import State, ends_attempt
from loraforge.notifications.models import Notification
from loraforge.notifications.selectors import notice_frame, notification_get, notification_list

TOLD = {State.RUNNING, State.SUCCEEDED, State.FAILED, State.STOPPED, State.LOST}


def instance_moved(*, instance: Instance, event: InstanceEvent) -> None:
    """Tell the owner, in the transaction of the move: the new state always, and a notice of what matters.

    A node that comes back after silence is no start, so UNKNOWN -> RUNNING tells nothing.
    """
    outbox.frame_enqueue(live.topic_user(instance.owner_id), status_frame(instance))
    if event.target == State.QUEUED and ends_attempt(source=event.source, target=event.target):
        notification_create(instance=instance, what="retried")
    is_back = event.source == State.UNKNOWN and event.target == State.RUNNING
    if event.target in TOLD and not is_back:
        notification_create(instance=instance, what=str(event.target))


def notification_create(*, instance: Instance, what: str) -> Notification:
    """A row for the instance's owner and a frame in the language that they chose."""
    row = Notification.objects.create(
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
        },
        created_at=timezone.now(),
    )
    with override(instance.owner.language or settings.LANGUAGE_CODE):
        outbox.frame_enqueue(live.topic_user(instance.owner_id), notice_frame(row))
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
