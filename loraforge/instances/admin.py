from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from loraforge.instances.models import Attempt, DeviceLease, Instance, InstanceEvent


class _ReadOnly:
    """Looking only: each change of these rows has a service that keeps them consistent."""

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class AttemptInline(_ReadOnly, TabularInline):  # type: ignore[misc]
    model = Attempt
    fields = (
        "number",
        "node",
        "devices",
        "phase",
        "exit_code",
        "outcome",
        "assigned_at",
        "ended_at",
    )
    extra = 0


class EventInline(_ReadOnly, TabularInline):  # type: ignore[misc]
    model = InstanceEvent
    fields = ("at", "attempt", "source", "target", "reason", "detail", "actor")
    extra = 0


@admin.register(Instance)
class InstanceAdmin(_ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = (
        "id",
        "name",
        "owner",
        "state",
        "node",
        "priority",
        "wait_reason",
        "failure_reason",
        "created_at",
    )
    list_filter = ("state", "kind", "node")
    search_fields = ("=id", "name", "owner__username")
    inlines = (AttemptInline, EventInline)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Instance]:
        rows: QuerySet[Instance] = super().get_queryset(request)
        return rows.select_related("owner", "node")


@admin.register(DeviceLease)
class DeviceLeaseAdmin(_ReadOnly, ModelAdmin):  # type: ignore[misc]
    list_display = ("node", "device_uuid", "attempt", "leased_at", "released_at")
    list_filter = ("node",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeviceLease]:
        rows: QuerySet[DeviceLease] = super().get_queryset(request)
        return rows.select_related("node", "attempt__instance")
