"""Reads of the audit log."""

from auditlog.models import LogEntry
from django.db.models import QuerySet

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User


def entry_list(*, user: User) -> QuerySet[LogEntry]:
    """All entries, newest first, with actor and kind of object. Raises Denied unless role allows."""
    access.require(user, Action.AUDIT)
    rows: QuerySet[LogEntry] = LogEntry.objects.select_related("actor", "content_type")
    return rows.order_by("-pk")
