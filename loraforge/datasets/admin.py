from typing import ClassVar

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from loraforge.datasets.models import Dataset, Upload


class _ReadOnly(ModelAdmin):
    """Seen here, changed through the services that check and record it."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return False


@admin.register(Dataset)
class DatasetAdmin(_ReadOnly):
    """What datasets there are; their rows are the owner's and not shown."""

    list_display = ("id", "name", "owner", "kind", "state", "rows", "size_bytes", "created_at")
    list_filter = ("kind", "state")
    search_fields = ("name", "owner__username", "remote_id")
    list_select_related = ("owner",)
    exclude: ClassVar[tuple[str, ...]] = ("preview",)


@admin.register(Upload)
class UploadAdmin(_ReadOnly):
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
