"""What occupies nodes: instances, their attempts and leases. Services change them; the actions call those."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyInline, ReadOnlyModelAdmin, person
from loraforge.instances.models import Attempt, DeviceLease, Instance, InstanceEvent
from loraforge.instances.services import instance_give_up, instance_stop
from loraforge.instances.states import State

STATE_LOOKS = {
    State.QUEUED: "warning",
    State.ASSIGNED: "warning",
    State.PREPARING: "info",
    State.RUNNING: "info",
    State.FINISHING: "info",
    State.SUCCEEDED: "success",
    State.STOPPING: "warning",
    State.FAILED: "danger",
    State.UNKNOWN: "warning",
    State.LOST: "danger",
}


class _AttemptColumns:
    """What an attempt's list, page and inline share."""

    number_shown = columns.plain("number", gettext_lazy("attempt"))
    instance_shown = columns.linked("instance", gettext_lazy("instance"))
    node_shown = columns.linked("node", gettext_lazy("node"))
    devices_shown = columns.joined("devices", gettext_lazy("devices"))
    phase_shown = columns.plain("phase", gettext_lazy("phase"))
    outcome_shown = columns.plain("outcome", gettext_lazy("outcome"))
    exit_shown = columns.plain("exit_code", gettext_lazy("exit code"))
    assigned = columns.when("assigned_at", gettext_lazy("assigned"))
    running = columns.when("running_at", gettext_lazy("running since"))
    ended = columns.when("ended_at", gettext_lazy("ended"))


class AttemptInline(_AttemptColumns, ReadOnlyInline):  # type: ignore[misc]
    model = Attempt
    fields = (
        *("number_shown", "node_shown", "devices_shown", "phase_shown", "outcome_shown"),
        *("exit_shown", "assigned", "running", "ended"),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Attempt]:
        rows: QuerySet[Attempt] = super().get_queryset(request)
        return rows.select_related("node")


class EventInline(ReadOnlyInline):
    model = InstanceEvent
    fields = ("when", "attempt_shown", "change", "reason_shown", "detail_shown", "who")
    show_change_link = False

    when = columns.when("at", gettext_lazy("time"))
    attempt_shown = columns.plain("attempt", gettext_lazy("attempt"))
    reason_shown = columns.plain("reason", gettext_lazy("reason"))
    detail_shown = columns.plain("detail", gettext_lazy("detail"))
    who = columns.linked("actor", gettext_lazy("actor"))

    @admin.display(description=gettext_lazy("change"))
    def change(self, event: InstanceEvent) -> str:
        return str(event)

    def get_queryset(self, request: HttpRequest) -> QuerySet[InstanceEvent]:
        rows: QuerySet[InstanceEvent] = super().get_queryset(request)
        return rows.select_related("actor")


@admin.register(Instance)
class InstanceAdmin(ReadOnlyModelAdmin):
    """Everything that occupies a node, deleted ones too."""

    list_display = (
        *("number_shown", "name_short", "owner_shown", "state_shown", "node_shown"),
        *("reason_shown", "created"),
    )
    list_display_links = ("number_shown", "name_short")
    list_filter = (
        "state",
        ("node", columns.filter_titled(gettext_lazy("node"))),
        ("kind", columns.filter_titled(gettext_lazy("kind"))),
        ("owner", columns.filter_titled(gettext_lazy("owner"))),
        ("failure_reason", columns.filter_titled(gettext_lazy("failure"))),
        ("deleted_at", columns.filter_titled(gettext_lazy("deleted"), admin.EmptyFieldListFilter)),
    )
    search_fields = ("=id", "name", "owner__username", "failure_reason")
    list_select_related = ("owner", "node")
    date_hierarchy = "created_at"
    inlines = (AttemptInline, EventInline)
    actions = ("stop_save", "stop_now", "give_up")
    shown = (
        (
            None,
            (
                *("number_shown", "name", "owner_shown", "kind_shown", "job_shown", "state_shown"),
                *("node_shown", "waits_for", "wait_data", "failed_by", "failed_with", "exit_shown"),
            ),
        ),
        (
            gettext_lazy("Asked for"),
            ("gpus_shown", "processes_shown", "wanted_node_shown", "wanted_shown", "priority"),
        ),
        (
            gettext_lazy("Progress"),
            (
                "attempt_shown",
                "progress_shown",
                "loss_shown",
                "saved",
                "leases",
                "files",
                "audited",
            ),
        ),
        (gettext_lazy("Notes"), ("tags_shown", "notes", "keep")),
        (gettext_lazy("Times"), ("created", "queued", "started", "ended", "deleted")),
    )

    name_short = columns.short("name", gettext_lazy("name"))
    number_shown = columns.number("pk", gettext_lazy("number"))
    owner_shown = columns.linked("owner", gettext_lazy("owner"))
    kind_shown = columns.plain("kind", gettext_lazy("kind"))
    job_shown = columns.linked("job", gettext_lazy("job"))
    state_shown = columns.chip("state", gettext_lazy("state"), STATE_LOOKS)
    node_shown = columns.linked("node", gettext_lazy("node"))
    reason_shown = columns.reason(
        (("wait_reason", "wait_detail"), ("failure_reason", "failure_detail")),
        gettext_lazy("reason"),
    )
    waits_for = columns.plain("wait_reason", gettext_lazy("waits for"))
    wait_data = columns.data("wait_detail", gettext_lazy("waits for, in detail"))
    failed_by = columns.plain("failure_reason", gettext_lazy("failure"))
    failed_with = columns.plain("failure_detail", gettext_lazy("failure, in detail"))
    exit_shown = columns.plain("exit_code", gettext_lazy("exit code"))
    gpus_shown = columns.plain("gpus", gettext_lazy("devices"))
    processes_shown = columns.plain("processes", gettext_lazy("processes"))
    wanted_node_shown = columns.linked("wanted_node", gettext_lazy("node"))
    wanted_shown = columns.joined("wanted_devices", "UUID")
    attempt_shown = columns.plain("attempt", gettext_lazy("attempt"))
    loss_shown = columns.plain("loss", gettext_lazy("loss"))
    saved = columns.plain("saved_step", gettext_lazy("saved step"))
    tags_shown = columns.joined("tags", gettext_lazy("tags"))
    created = columns.when("created_at", gettext_lazy("created"))
    queued = columns.when("queued_at", gettext_lazy("queued"))
    started = columns.when("started_at", gettext_lazy("started"))
    ended = columns.when("ended_at", gettext_lazy("ended"))
    deleted = columns.when("deleted_at", gettext_lazy("deleted"))
    leases = columns.elsewhere(
        "instances", "devicelease", "attempt__instance__id__exact", gettext_lazy("device leases")
    )
    audited = columns.audited()
    files = columns.elsewhere(
        "artifacts", "outputfile", "attempt__instance__id__exact", gettext_lazy("output files")
    )

    @admin.display(description=gettext_lazy("progress"))
    def progress_shown(self, row: Instance) -> str:
        return f"{row.progress} % ({row.step}/{row.max_steps})"

    @admin.action(description=gettext_lazy("Stop and save"), permissions=["operate"])
    def stop_save(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self.run_each(
            request,
            queryset,
            lambda row: instance_stop(actor=person(request), instance=row, mode="save"),
            done=_("Asked to save and stop."),
        )

    @admin.action(description=gettext_lazy("Stop now"), permissions=["operate"])
    def stop_now(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self.run_each(
            request,
            queryset,
            lambda row: instance_stop(actor=person(request), instance=row, mode="now"),
            done=_("Asked to stop at once."),
        )

    @admin.action(description=gettext_lazy("Give up (node unreachable)"), permissions=["operate"])
    def give_up(self, request: HttpRequest, queryset: QuerySet[Instance]) -> None:
        self.run_each(
            request,
            queryset,
            lambda row: instance_give_up(actor=person(request), instance=row),
            done=_("Given up."),
        )


@admin.register(Attempt)
class AttemptAdmin(_AttemptColumns, ReadOnlyModelAdmin):  # type: ignore[misc]
    """Every start of an instance on a node."""

    list_display = (
        *("instance_shown", "number_shown", "node_shown", "devices_shown", "phase_shown"),
        *("outcome_shown", "exit_shown", "assigned", "ended"),
    )
    list_filter = (
        ("node", columns.filter_titled(gettext_lazy("node"))),
        ("phase", columns.filter_titled(gettext_lazy("phase"))),
        ("outcome", columns.filter_titled(gettext_lazy("outcome"))),
    )
    search_fields = ("=instance__id", "instance__name", "node__name")
    list_select_related = ("instance", "node")
    date_hierarchy = "assigned_at"
    ordering = ("-id",)
    shown = (
        (
            None,
            (
                *("instance_shown", "number_shown", "node_shown", "devices_shown", "phase_shown"),
                *(
                    "outcome_shown",
                    "exit_shown",
                    "signal",
                    "process",
                    "stop_asked",
                    "leases",
                    "files",
                ),
            ),
        ),
        (
            gettext_lazy("Times"),
            ("assigned", "preparing", "running", "first_step", "ended"),
        ),
    )

    signal = columns.plain("killed_by", gettext_lazy("ended by signal"))
    process = columns.plain("pid", "PID")
    stop_asked = columns.plain("stop_requested", gettext_lazy("stop asked for"))
    preparing = columns.when("preparing_at", gettext_lazy("preparing since"))
    first_step = columns.when("first_step_at", gettext_lazy("first step"))
    leases = columns.elsewhere(
        "instances", "devicelease", "attempt__id__exact", gettext_lazy("device leases")
    )
    files = columns.elsewhere(
        "artifacts", "outputfile", "attempt__id__exact", gettext_lazy("output files")
    )


@admin.register(DeviceLease)
class DeviceLeaseAdmin(ReadOnlyModelAdmin):
    """Who has had which device. A lease without an end holds its device now."""

    list_display = ("device", "node_shown", "instance_shown", "attempt_shown", "since", "until")
    list_filter = (
        (
            "released_at",
            columns.filter_titled(gettext_lazy("released"), admin.EmptyFieldListFilter),
        ),
        ("node", columns.filter_titled(gettext_lazy("node"))),
    )
    search_fields = (
        "device_uuid",
        "node__name",
        "=attempt__instance__id",
        "attempt__instance__name",
    )
    list_select_related = ("node", "attempt__instance")
    date_hierarchy = "leased_at"
    ordering = ("-id",)
    shown = ((None, ("device", "node_shown", "instance_shown", "attempt_shown", "since", "until")),)

    device = columns.plain("device_uuid", gettext_lazy("device"))
    node_shown = columns.linked("node", gettext_lazy("node"))
    instance_shown = columns.linked("attempt.instance", gettext_lazy("instance"))
    attempt_shown = columns.linked("attempt", gettext_lazy("attempt"))
    since = columns.when("leased_at", gettext_lazy("since"))
    until = columns.when("released_at", gettext_lazy("released"))

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """The links of an instance and an attempt filter by these."""
        ours = {"attempt__id__exact", "attempt__instance__id__exact"}
        return lookup in ours or super().lookup_allowed(lookup, value, request)
