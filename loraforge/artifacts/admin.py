from django.contrib import admin

from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.artifacts.models import OutputFile


@admin.register(OutputFile)
class OutputFileAdmin(ReadOnlyModelAdmin):
    """What lies on the nodes, as their manifests say; only manifests change it."""

    list_display = ("path", "attempt", "size_bytes", "modified_at", "removed_at")
    list_filter = ("removed_at",)
    search_fields = ("path", "attempt__instance__name")
    list_select_related = ("attempt",)
