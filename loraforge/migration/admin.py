"""Moves and drains, to look at. The pages of jobs and nodes begin them."""

from django.contrib import admin
from django.utils.translation import gettext_lazy

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.migration.models import Drain, Migration, Prefetch


@admin.register(Migration)
class MigrationAdmin(ReadOnlyModelAdmin):
    list_display = ("instance_shown", "state", "step", "source_shown", "target_shown", "created")
    list_filter = ("state", "step")
    search_fields = ("=instance__id",)
    list_select_related = ("instance", "source", "target")
    shown = (
        (
            None,
            (
                *("instance_shown", "state", "step", "source_shown", "target_shown"),
                *("error", "error_detail", "created", "ended"),
            ),
        ),
    )

    instance_shown = columns.linked("instance", gettext_lazy("instance"))
    source_shown = columns.linked("source", gettext_lazy("source"))
    target_shown = columns.linked("target", gettext_lazy("target"))
    created = columns.when("created_at", gettext_lazy("created"))
    ended = columns.when("ended_at", gettext_lazy("ended"))


@admin.register(Drain)
class DrainAdmin(ReadOnlyModelAdmin):
    list_display = ("node_shown", "mode", "deadline", "created", "ended", "is_done")
    list_filter = ("mode", "is_done")
    list_select_related = ("node",)
    shown = ((None, ("node_shown", "mode", "deadline", "created", "ended", "is_done")),)

    node_shown = columns.linked("node", gettext_lazy("node"))
    deadline = columns.when("deadline_at", gettext_lazy("deadline"))
    created = columns.when("created_at", gettext_lazy("created"))
    ended = columns.when("ended_at", gettext_lazy("ended"))


@admin.register(Prefetch)
class PrefetchAdmin(ReadOnlyModelAdmin):
    list_display = ("node_shown", "hub", "repo", "state", "created", "ended")
    list_filter = ("state", "hub")
    search_fields = ("repo",)
    list_select_related = ("node",)
    shown = (
        (
            None,
            (
                *("node_shown", "hub", "repo", "revision", "state", "done_bytes", "total_bytes"),
                *("error", "detail", "created", "ended"),
            ),
        ),
    )

    node_shown = columns.linked("node", gettext_lazy("node"))
    created = columns.when("created_at", gettext_lazy("created"))
    ended = columns.when("ended_at", gettext_lazy("ended"))
