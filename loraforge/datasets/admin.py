"""Datasets and uploads; their rows are the owner's and not shown."""

from django.contrib import admin
from django.urls import reverse
from django.utils.translation import gettext_lazy as _

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.datasets.models import Dataset, DatasetState, Upload

LOOKS = {DatasetState.READY: "success", DatasetState.INVALID: "danger"}


@admin.register(Dataset)
class DatasetAdmin(ReadOnlyModelAdmin):
    """What datasets there are, deleted ones too."""

    list_display = (
        *("name", "owner_shown", "kind_shown", "state_shown", "rows", "size_shown", "jobs"),
        "created",
    )
    list_filter = (
        ("kind", columns.filter_titled(_("kind"))),
        "state",
        ("row_format", columns.filter_titled(_("format"))),
        ("owner", columns.filter_titled(_("owner"))),
        ("deleted_at", columns.filter_titled(_("deleted"), admin.EmptyFieldListFilter)),
    )
    search_fields = ("name", "owner__username", "remote_id", "=sha256")
    list_select_related = ("owner",)
    date_hierarchy = "created_at"
    shown = (
        (None, ("name", "owner_shown", "kind_shown", "state_shown", "remote", "jobs", "audited")),
        (_("Content"), ("rows", "row_format", "size_shown", "hash", "stored_as")),
        (_("Check"), ("errors_counted", "tolerated")),
        (_("Times"), ("created", "deleted")),
    )

    owner_shown = columns.linked("owner", _("owner"))
    kind_shown = columns.plain("kind", _("kind"))
    state_shown = columns.chip("state", _("state"), LOOKS)
    remote = columns.plain("remote_id", _("hub id"))
    size_shown = columns.size("size_bytes", _("size"))
    hash = columns.plain("sha256", "SHA-256")
    stored_as = columns.plain("storage_name", _("stored as"))
    errors_counted = columns.plain("error_count", _("wrong rows"))
    tolerated = columns.joined("notes", _("tolerated"))
    created = columns.when("created_at", _("created"))
    deleted = columns.when("deleted_at", _("deleted"))
    audited = columns.audited()
    jobs = columns.elsewhere("training", "job", "job_datasets__dataset__id__exact", _("jobs"))

    def view_on_site(self, dataset: Dataset) -> str | None:
        """Its page for people; a deleted one has none."""
        return None if dataset.deleted_at else reverse("datasets:detail", args=(dataset.pk,))


@admin.register(Upload)
class UploadAdmin(ReadOnlyModelAdmin):
    """Unfinished and recent uploads."""

    list_display = ("file", "owner_shown", "size_shown", "arrived", "checked", "result", "expires")
    list_filter = (("owner", columns.filter_titled(_("owner"))),)
    search_fields = ("filename", "owner__username")
    list_select_related = ("owner", "dataset")
    date_hierarchy = "created_at"
    shown = (
        (None, ("file", "owner_shown", "size_shown", "arrived", "checked", "tries", "result")),
        (_("Times"), ("created", "locked", "expires")),
    )

    file = columns.plain("filename", _("file"))
    owner_shown = columns.linked("owner", _("owner"))
    size_shown = columns.size("size_bytes", _("size"))
    arrived = columns.size("offset_bytes", _("arrived"))
    checked = columns.size("checked_bytes", _("checked"))
    tries = columns.plain("check_tries", _("starts of its check"))
    result = columns.linked("dataset", _("dataset"))
    created = columns.when("created_at", _("created"))
    locked = columns.when("locked_until", _("locked until"))
    expires = columns.when("expires_at", _("expires"))
