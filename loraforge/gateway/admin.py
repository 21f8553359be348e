"""What the platform sends and receives: the outbox, reports that could not be stored, positions."""

from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import access
from loraforge.accounts import admin_columns as columns
from loraforge.accounts.access import Action
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.core.models import OutboxMessage, Setting
from loraforge.gateway.models import DeadLetter, JournalPosition


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyModelAdmin):
    """What waits to be sent. Rows that stay longer than seconds mean that relay or Redis is away."""

    list_display = ("number", "kind_shown", "what_for", "queue_shown", "since")
    list_filter = (
        ("kind", columns.filter_titled(_("kind"))),
        ("queue", columns.filter_titled(_("queue"))),
    )
    search_fields = ("target",)
    date_hierarchy = "created_at"
    shown = ((None, ("number", "kind_shown", "what_for", "queue_shown", "content", "since")),)

    number = columns.number("pk", _("number"))
    kind_shown = columns.plain("kind", _("kind"))
    what_for = columns.plain("target", _("target"))
    queue_shown = columns.plain("queue", _("queue"))
    content = columns.data("payload", _("content"))
    since = columns.when("created_at", _("waits since"))


@admin.register(DeadLetter)
class DeadLetterAdmin(ReadOnlyModelAdmin):
    """Reports that could not be stored; deleting one is how it is dealt with."""

    list_display = ("number", "node_shown", "entry", "why", "when")
    list_filter = (("node", columns.filter_titled(_("node"))),)
    search_fields = ("node", "entry_id", "error")
    date_hierarchy = "at"
    shown = ((None, ("number", "node_shown", "entry", "when", "why", "content")),)

    number = columns.number("pk", _("number"))
    node_shown = columns.plain("node", _("node"))
    entry = columns.plain("entry_id", _("entry of the stream"))
    why = columns.plain("error", _("error"))
    when = columns.when("at", _("time"))
    content = columns.raw("raw", _("content"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeadLetter]:
        """A list of fifty must not read fifty reports of a megabyte each."""
        rows: QuerySet[DeadLetter] = super().get_queryset(request)
        return rows.defer("raw")

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return access.may(request.user, Action.OPERATE)


@admin.register(JournalPosition)
class JournalPositionAdmin(ReadOnlyModelAdmin):
    """Up to where each node's journal is stored."""

    list_display = ("node_shown", "position")
    search_fields = ("node__name",)
    list_select_related = ("node",)
    list_display_links = None
    shown = ((None, ("node_shown", "position")),)

    node_shown = columns.linked("node", _("node"))
    position = columns.plain("seq", _("stored up to"))


@admin.register(Setting)
class SettingAdmin(ReadOnlyModelAdmin):
    """Small facts about this installation that must survive."""

    list_display = ("called", "content")
    search_fields = ("name",)
    shown = ((None, list_display),)

    called = columns.plain("name", _("name"))
    content = columns.plain("value", _("value"))
