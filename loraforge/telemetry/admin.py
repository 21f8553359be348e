"""What is stored of logs, metrics, events and readings: to find out what arrived. Only ingest writes it."""

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.telemetry.models import (
    LogChunk,
    LogGap,
    MetricRow,
    Sample,
    StreamPosition,
    TrainerEvent,
)


class _OfAttempt(ReadOnlyModelAdmin):
    """Bytes of a file of an attempt."""

    list_filter: ClassVar[Any] = (("attempt__node", columns.filter_titled(_("node"))),)
    search_fields = ("=attempt__instance__id", "attempt__instance__name")
    list_select_related = ("attempt__instance",)
    ordering = ("-id",)

    instance_shown = columns.linked("attempt.instance", _("instance"))
    attempt_shown = columns.linked("attempt", _("attempt"))
    from_byte = columns.plain("start", _("from byte"))
    to_byte = columns.plain("end", _("to byte"))

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """The links of an instance and an attempt filter by these."""
        ours = {"attempt__id__exact", "attempt__instance__id__exact"}
        return lookup in ours or super().lookup_allowed(lookup, value, request)


@admin.register(StreamPosition)
class StreamPositionAdmin(_OfAttempt):
    """Up to where each file of an attempt is stored."""

    list_display = ("instance_shown", "attempt_shown", "file", "to_byte", "of_bytes")
    list_display_links = ("file",)
    list_filter = (*_OfAttempt.list_filter, ("stream", columns.filter_titled(_("file"))))
    shown = ((None, list_display),)

    file = columns.plain("stream", _("file"))
    of_bytes = columns.plain("size", _("of bytes"))


@admin.register(LogChunk)
class LogChunkAdmin(_OfAttempt):
    """Pieces of console.log."""

    list_display = ("number", "instance_shown", "attempt_shown", "from_byte", "to_byte", "lines")
    shown = ((None, (*list_display, "content")),)

    number = columns.number("pk", _("number"))
    lines = columns.plain("newlines", _("line ends"))
    content = columns.raw("data", _("content"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[LogChunk]:
        """A list of fifty must not read fifty pieces of a megabyte each."""
        rows: QuerySet[LogChunk] = super().get_queryset(request)
        return rows.defer("data")


@admin.register(LogGap)
class LogGapAdmin(_OfAttempt):
    """Where the rate caps left lines of console.log out."""

    list_display = ("number", "instance_shown", "attempt_shown", "from_byte", "to_byte", "left_out")
    shown = ((None, list_display),)

    number = columns.number("pk", _("number"))
    left_out = columns.plain("lines", _("lines left out"))


@admin.register(MetricRow)
class MetricRowAdmin(_OfAttempt):
    """Lines of logging.jsonl."""

    list_display = ("step_shown", "instance_shown", "attempt_shown", "from_byte", "to_byte", "when")
    shown = ((None, (*list_display, "content")),)

    step_shown = columns.plain("step", _("step"))
    when = columns.when("at", _("stored"))
    content = columns.data("values", _("content"))


@admin.register(TrainerEvent)
class TrainerEventAdmin(_OfAttempt):
    """Lines of events.jsonl, which our plugin writes inside the trainer."""

    list_display = ("what", "instance_shown", "attempt_shown", "from_byte", "to_byte")
    list_filter = (*_OfAttempt.list_filter, ("name", columns.filter_titled(_("event"))))
    shown = ((None, (*list_display, "content")),)

    what = columns.plain("name", _("event"))
    content = columns.data("values", _("content"))


@admin.register(Sample)
class SampleAdmin(ReadOnlyModelAdmin):
    """Readings of nodes, thinned out with age."""

    list_display = ("when", "node_shown")
    list_filter = (("node", columns.filter_titled(_("node"))),)
    search_fields = ("=node__name",)
    list_select_related = ("node",)
    date_hierarchy = "at"
    ordering = ("-id",)
    shown = ((None, ("when", "node_shown", "content")),)

    when = columns.when("at", _("time"))
    node_shown = columns.linked("node", _("node"))
    content = columns.data("values", _("content"))

    def get_queryset(self, request: HttpRequest) -> QuerySet[Sample]:
        """The list shows when, not what."""
        rows: QuerySet[Sample] = super().get_queryset(request)
        return rows.defer("values")
