from typing import Any

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.artifacts.models import BestCheckpoint, OutputFile


@admin.register(OutputFile)
class OutputFileAdmin(ReadOnlyModelAdmin):
    """What lies on the nodes, as their manifests say; only manifests change it."""

    list_display = (
        "file",
        "instance_shown",
        "attempt_shown",
        "node_shown",
        "size_shown",
        "modified",
        "removed",
    )
    list_filter = (
        ("removed_at", columns.filter_titled(_("removed"), admin.EmptyFieldListFilter)),
        ("attempt__node", columns.filter_titled(_("node"))),
    )
    search_fields = ("path", "attempt__instance__name", "=attempt__instance__id")
    list_select_related = ("attempt__instance", "attempt__node")
    date_hierarchy = "modified_at"
    ordering = ("-id",)
    shown = (
        (
            None,
            (
                *("file", "instance_shown", "attempt_shown", "node_shown", "size_shown", "hash"),
                *("modified", "removed"),
            ),
        ),
    )

    file = columns.plain("path", _("file"))
    instance_shown = columns.linked("attempt.instance", _("instance"))
    attempt_shown = columns.linked("attempt", _("attempt"))
    node_shown = columns.linked("attempt.node", _("node"))
    size_shown = columns.size("size_bytes", _("size"))
    hash = columns.plain("sha256", "SHA-256")
    modified = columns.when("modified_at", _("changed"))
    removed = columns.when("removed_at", _("removed"))

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """The links of an instance and an attempt filter by these."""
        ours = {"attempt__id__exact", "attempt__instance__id__exact"}
        return lookup in ours or super().lookup_allowed(lookup, value, request)


@admin.register(BestCheckpoint)
class BestCheckpointAdmin(ReadOnlyModelAdmin):
    """Which checkpoint each trainer holds for the best, as its node read it."""

    list_display = ("step_shown", "instance_shown", "attempt_shown", "value")
    list_filter = (("attempt__node", columns.filter_titled(_("node"))),)
    search_fields = ("=attempt__instance__id", "attempt__instance__name")
    list_select_related = ("attempt__instance",)
    ordering = ("-pk",)
    shown = ((None, list_display),)

    step_shown = columns.plain("step", _("step"))
    instance_shown = columns.linked("attempt.instance", _("instance"))
    attempt_shown = columns.linked("attempt", _("attempt"))
    value = columns.plain("metric", _("value"))
