from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from loraforge.accounts.admin_base import ReadOnlyInline, ReadOnlyModelAdmin
from loraforge.instances.models import Attempt, DeviceLease, Instance, InstanceEvent


class AttemptInline(ReadOnlyInline):
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


class EventInline(ReadOnlyInline):
    model = InstanceEvent
    fields = ("at", "attempt", "source", "target", "reason", "detail", "actor")
    extra = 0


@admin.register(Instance)
class InstanceAdmin(ReadOnlyModelAdmin):
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
class DeviceLeaseAdmin(ReadOnlyModelAdmin):
    list_display = ("node", "device_uuid", "attempt", "leased_at", "released_at")
    list_filter = ("node",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[DeviceLease]:
        rows: QuerySet[DeviceLease] = super().get_queryset(request)
        return rows.select_related("node", "attempt__instance")
