"""Reads of notifications."""

from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from loraforge.accounts.models import User
from loraforge.core.errors import NotFound
from loraforge.notifications.models import Notification
from loraforge.notifications.texts import body_of, title_of

Asker = User | AnonymousUser


def notification_list(*, user: Asker) -> QuerySet[Notification]:
    """One's own, newest first. An operator too has only those that are meant for them."""
    return (
        Notification.objects.filter(user_id=user.pk)
        if user.is_authenticated
        else Notification.objects.none()
    )


def notification_get(*, user: Asker, notification_id: int) -> Notification:
    """One of one's own. Raises NotFound."""
    row = notification_list(user=user).filter(pk=notification_id).first()
    if row is None:
        raise NotFound("notifications:not_found", _("Not found."))
    return row


def notification_unread_count(*, user: Asker) -> int:
    """How many wait to be read."""
    return notification_list(user=user).filter(read_at=None).count()


def notification_url(row: Notification) -> str:
    """The page that it is about; the address of a job's page is part of the interface."""
    if row.instance_id:
        return f"/jobs/{row.instance_id}/"
    if row.what.startswith("budget_"):
        return "/usage/"
    return f"/nodes/{row.values['node']}/" if row.values.get("node") else "/"


def notice_frame(row: Notification) -> dict[str, Any]:
    """The live frame `notice`, in the active language."""
    return {
        "type": "notice",
        "id": row.pk,
        "what": row.what,
        "title": title_of(row.what),
        "body": body_of(row.what, row.values),
        "url": notification_url(row),
        "at": row.created_at.isoformat(),
    }
