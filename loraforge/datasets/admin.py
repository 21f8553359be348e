from typing import ClassVar

from django.contrib import admin

from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.datasets.models import Dataset, Upload


@admin.register(Dataset)
class DatasetAdmin(ReadOnlyModelAdmin):
    """What datasets there are; their rows are the owner's and not shown."""

    list_display = ("id", "name", "owner", "kind", "state", "rows", "size_bytes", "created_at")
    list_filter = ("kind", "state")
    search_fields = ("name", "owner__username", "remote_id")
    list_select_related = ("owner",)
    exclude: ClassVar[tuple[str, ...]] = ("preview",)


@admin.register(Upload)
class UploadAdmin(ReadOnlyModelAdmin):
    """Unfinished and recent uploads."""

    list_display = (
        "id",
        "filename",
        "owner",
        "size_bytes",
        "offset_bytes",
        "checked_bytes",
        "expires_at",
    )
    search_fields = ("filename", "owner__username")
    list_select_related = ("owner",)
    exclude: ClassVar[tuple[str, ...]] = ("lock_token",)
