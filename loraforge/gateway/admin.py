from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.gateway.models import DeadLetter, JournalPosition


class _ReadOnly(ReadOnlyModelAdmin):
    """Written by ingest only."""


@admin.register(DeadLetter)
class DeadLetterAdmin(_ReadOnly):
    """Reports that could not be stored; deleting one is how it is dealt with."""

    list_display = ("id", "node", "entry_id", "error", "at")
    list_filter = ("node",)
    exclude = ("raw",)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, Action.OPERATE)


@admin.register(JournalPosition)
class JournalPositionAdmin(_ReadOnly):
    list_display = ("node", "seq")
