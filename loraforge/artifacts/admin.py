from typing import Any, ClassVar

from django.contrib import admin
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.artifacts.models import (
    BestCheckpoint,
    FileLease,
    OutputFile,
    Removal,
    RemovalNotice,
    ResultCopy,
    ResultSaving,
)


class OfAttempt(ReadOnlyModelAdmin):
    """What belongs to an attempt: its links, and the search for its instance."""

    search_fields: ClassVar[tuple[str, ...]] = ("=attempt__instance__id", "attempt__instance__name")
    list_select_related: ClassVar[tuple[str, ...]] = ("attempt__instance", "attempt__node")

    instance_shown = columns.linked("attempt.instance", _("instance"))
    attempt_shown = columns.linked("attempt", _("attempt"))
    node_shown = columns.linked("attempt.node", _("node"))


class OfInstance(ReadOnlyModelAdmin):
    """What belongs to an instance."""

    search_fields: ClassVar[tuple[str, ...]] = ("=instance__id", "instance__name")
    list_select_related: ClassVar[tuple[str, ...]] = ("instance",)

    instance_shown = columns.linked("instance", _("instance"))


@admin.register(OutputFile)
class OutputFileAdmin(OfAttempt):
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
    search_fields = ("path", *OfAttempt.search_fields)
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
    size_shown = columns.size("size_bytes", _("size"))
    hash = columns.plain("sha256", "SHA-256")
    modified = columns.when("modified_at", _("changed"))
    removed = columns.when("removed_at", _("removed"))

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """The links of an instance and an attempt filter by these."""
        ours = {"attempt__id__exact", "attempt__instance__id__exact"}
        return lookup in ours or super().lookup_allowed(lookup, value, request)


@admin.register(BestCheckpoint)
class BestCheckpointAdmin(OfAttempt):
    """Which checkpoint each trainer holds for the best, as its node read it."""

    list_display = ("step_shown", "instance_shown", "attempt_shown", "value")
    list_filter = (("attempt__node", columns.filter_titled(_("node"))),)
    ordering = ("-pk",)
    shown = ((None, list_display),)

    step_shown = columns.plain("step", _("step"))
    value = columns.plain("metric", _("value"))


@admin.register(ResultCopy)
class ResultCopyAdmin(ReadOnlyModelAdmin):
    """Results of ended jobs in the platform's storage, and on their way there."""

    list_display = ("file_shown", "instance_shown", "state_shown", "came", "size_shown", "kept")
    list_filter = (("state", columns.filter_titled(_("state"))),)
    search_fields = ("file__path", "=file__attempt__instance__id")
    list_select_related = ("file__attempt__instance",)
    ordering = ("-pk",)
    shown = ((None, (*list_display, "name_shown", "tries_shown")),)

    file_shown = columns.plain("file.path", _("file"))
    instance_shown = columns.linked("file.attempt.instance", _("instance"))
    state_shown = columns.plain("state", _("state"))
    came = columns.size("offset_bytes", _("fetched"))
    size_shown = columns.size("file.size_bytes", _("size"))
    kept = columns.when("kept_at", _("saved"))
    name_shown = columns.plain("storage_name", _("name in the storage"))
    tries_shown = columns.plain("tries", _("differed"))


@admin.register(ResultSaving)
class ResultSavingAdmin(OfInstance):
    """How far the saving of each ended job's results is."""

    list_display = ("instance_shown", "wanted", "next_step", "trouble_shown", "done")
    list_filter = (("trouble", columns.filter_titled(_("waits for"))),)
    ordering = ("-wanted_at",)
    shown = ((None, (*list_display, "waits_shown")),)

    wanted = columns.when("wanted_at", _("wanted"))
    next_step = columns.when("next_at", _("next step"))
    trouble_shown = columns.plain("trouble", _("waits for"))
    done = columns.when("done_at", _("done"))
    waits_shown = columns.plain("waits", _("tries"))


@admin.register(Removal)
class RemovalAdmin(OfAttempt):
    """Files that were removed, and whether their node has confirmed it."""

    list_display = ("instance_shown", "attempt_shown", "node_shown", "size_shown", "begun", "done")
    list_display_links = ("begun",)
    list_filter = (
        ("done_at", columns.filter_titled(_("confirmed"), admin.EmptyFieldListFilter)),
        ("attempt__node", columns.filter_titled(_("node"))),
    )
    ordering = ("-id",)
    shown = ((None, (*list_display, "asked", "refusals")),)

    size_shown = columns.size("size_bytes", _("size"))
    begun = columns.when("begun_at", _("removed"))
    asked = columns.when("asked_at", _("node asked"))
    done = columns.when("done_at", _("confirmed"))
    refusals = columns.plain("tries", _("refusals"))


@admin.register(RemovalNotice)
class RemovalNoticeAdmin(OfInstance):
    """Who was told that files go soon."""

    list_display = ("instance_shown", "ended", "told")
    list_display_links = ("told",)
    list_filter = ("told_at",)
    ordering = ("-id",)
    shown = ((None, list_display),)

    ended = columns.when("ended_at", _("ended"))
    told = columns.when("told_at", _("told"))


@admin.register(FileLease)
class FileLeaseAdmin(OfInstance):
    """Files that are being handed out and so are not removed."""

    list_display = ("by", "instance_shown", "expires")
    list_filter = ("expires_at",)
    search_fields = ("holder", *OfInstance.search_fields)
    ordering = ("-id",)
    shown = ((None, list_display),)

    by = columns.plain("holder", _("held by"))
    expires = columns.when("expires_at", _("until"))
