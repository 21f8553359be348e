"""The audit log in the admin: nobody adds, changes or deletes an entry, superusers included."""

from typing import Any

from auditlog.models import LogEntry
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import access
from loraforge.accounts import admin_columns as columns
from loraforge.accounts.access import Action
from loraforge.accounts.admin_base import ReadOnlyModelAdmin

if admin.site.is_registered(LogEntry):
    admin.site.unregister(LogEntry)

LOOKS = {
    LogEntry.Action.CREATE: "success",
    LogEntry.Action.UPDATE: "info",
    LogEntry.Action.DELETE: "danger",
}
NAMED = 5  # changed columns in a list


@admin.register(LogEntry)
class AuditAdmin(ReadOnlyModelAdmin):
    """Who did what to what, newest first."""

    list_display = (
        "at",
        "actor_shown",
        "action_shown",
        "kind",
        "target",
        "what",
        "in_short",
    )
    list_filter = (
        ("action", columns.filter_titled(_("action"))),
        ("content_type", columns.filter_titled(_("kind"))),
        ("actor", columns.filter_titled(_("actor"))),
        ("timestamp", columns.filter_titled(_("time"))),
    )
    search_fields = ("object_repr", "=object_pk", "actor__username", "=remote_addr")
    list_select_related = ("actor", "content_type")
    date_hierarchy = "timestamp"
    shown = (
        (None, ("at", "actor_shown", "address", "action_shown", "what", "kind", "target")),
        (_("Changes"), ("changes_shown",)),
    )

    at = columns.when("timestamp", _("time"))
    actor_shown = columns.linked("actor", _("actor"))
    action_shown = columns.chip("action", _("action"), LOOKS)
    address = columns.plain("remote_addr", _("from address"))

    def has_module_permission(self, request: HttpRequest) -> bool:
        return access.may(request.user, Action.AUDIT)

    def has_view_permission(self, request: HttpRequest, obj: LogEntry | None = None) -> bool:
        return access.may(request.user, Action.AUDIT)

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogEntry]:
        rows: QuerySet[LogEntry] = super().get_queryset(request)
        return rows.order_by("-pk")

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """The links of other pages filter by these."""
        ours = {"content_type__model__exact", "object_pk__exact", "actor__id__exact"}
        return lookup in ours or super().lookup_allowed(lookup, value, request)

    @admin.display(description=_("kind"), ordering="content_type__model")
    def kind(self, entry: LogEntry) -> str:
        return str(entry.content_type.name)

    @admin.display(description=_("of"), ordering="object_repr")
    def target(self, entry: LogEntry) -> str:
        """The row's name at that time, linked to the row."""
        kind = entry.content_type
        name = f"admin:{kind.app_label}_{kind.model}_change"
        try:
            return columns.anchor(reverse(name, args=(entry.object_pk,)), entry.object_repr)
        except NoReverseMatch:
            return str(entry.object_repr)

    @admin.display(description=_("what"))
    def what(self, entry: LogEntry) -> str:
        extra = entry.additional_data
        return str(extra.get("what", "")) if isinstance(extra, dict) else ""

    @admin.display(description=_("changes"))
    def in_short(self, entry: LogEntry) -> str:
        """The columns that changed."""
        names = list(entry.changes or {})
        if entry.action == LogEntry.Action.CREATE or not names:
            return columns.EMPTY
        more = ["…"] if len(names) > NAMED else []
        return ", ".join(names[:NAMED] + more)

    @admin.display(description=_("changes"))
    def changes_shown(self, entry: LogEntry) -> SafeString:
        """Column, value before, value after."""
        rows = [(name, *_pair(values)) for name, values in (entry.changes or {}).items()]
        if not rows:
            return SafeString(columns.EMPTY)
        cell = '<td class="py-1 pr-6 align-top break-all">{}</td>'
        body = format_html_join("", f"<tr>{cell * 3}</tr>", rows)
        head = format_html_join(
            "",
            '<th class="py-1 pr-6 text-left font-semibold">{}</th>',
            [(_("column"),), (_("before"),), (_("after"),)],
        )
        return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)


def _pair(values: Any) -> tuple[Any, Any]:
    """auditlog writes [before, after]; of many-to-many changes it writes a mapping."""
    if isinstance(values, list) and len(values) == 2:  # noqa: PLR2004
        return values[0], values[1]
    return "", values
