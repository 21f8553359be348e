"""The audit log in the admin: nobody adds, changes or deletes an entry, superusers included."""

from auditlog.models import LogEntry
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.admin_base import ReadOnlyModelAdmin

if admin.site.is_registered(LogEntry):
    admin.site.unregister(LogEntry)


@admin.register(LogEntry)
class AuditAdmin(ReadOnlyModelAdmin):
    """Who did what to what, newest first."""

    list_display = ("timestamp", "actor", "action", "content_type", "object_repr", "what")
    list_filter = ("action", "content_type")
    search_fields = ("object_repr", "=object_pk", "actor__username")
    list_select_related = ("actor", "content_type")
    date_hierarchy = "timestamp"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return access.may(request.user, Action.AUDIT)

    def has_view_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return access.may(request.user, Action.AUDIT)

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        rows: QuerySet[LogEntry] = super().get_queryset(request)
        return rows.order_by("-pk")

    @admin.display(description="what")
    def what(self, entry: LogEntry) -> str:
        extra = entry.additional_data
        return str(extra.get("what", "")) if isinstance(extra, dict) else ""
