"""Machines: nodes and what they have. Nodes are added by ``manage.py node_add``, which shows the token once."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyInline, ReadOnlyModelAdmin, person
from loraforge.nodes.models import Device, Node, NodeState
from loraforge.nodes.services import node_cordon, node_uncordon

NODE_LOOKS = {
    NodeState.ONLINE: "success",
    NodeState.SUSPECT: "warning",
    NodeState.OFFLINE: "danger",
    NodeState.LOST: "danger",
}


class DeviceInline(ReadOnlyInline):
    model = Device
    fields = (
        *("index_shown", "kind_shown", "uuid_shown", "name_shown", "memory", "is_present"),
        "is_blocked",
    )

    index_shown = columns.plain("index", gettext_lazy("number"))
    kind_shown = columns.plain("kind", gettext_lazy("kind"))
    uuid_shown = columns.plain("uuid", "UUID")
    name_shown = columns.plain("name", gettext_lazy("name"))
    memory = columns.size("memory_bytes", gettext_lazy("memory"))
    is_present = columns.plain("present", gettext_lazy("present"), boolean=True)
    is_blocked = columns.flag("blocked", gettext_lazy("kept from jobs"))


@admin.register(Node)
class NodeAdmin(ReadOnlyModelAdmin):
    """To look, and to cordon."""

    list_display = (
        *("name", "state_shown", "is_cordoned", "runtime", "disk_free", "last_heard"),
        *("agent", "instances"),
    )
    list_filter = ("state", "cordoned", "runtime")
    search_fields = ("name", "hostname")
    inlines = (DeviceInline,)
    actions = ("cordon", "uncordon")
    shown = (
        (
            None,
            (
                "name",
                "state_shown",
                "cordoned",
                "runtime",
                "last_heard",
                "instances",
                "leases",
                "strangers",
                "audited",
            ),
        ),
        (
            gettext_lazy("Machine"),
            (
                *("host", "processors", "memory", "disk_total", "disk_free", "driver"),
                *("gpus_by", "roots"),
            ),
        ),
        (
            gettext_lazy("Node agent"),
            ("agent", "swift", "file_service", "boot", "joined", "created"),
        ),
    )

    state_shown = columns.chip("state", gettext_lazy("state"), NODE_LOOKS)
    is_cordoned = columns.flag("cordoned", gettext_lazy("cordoned"))
    host = columns.plain("hostname", gettext_lazy("host name"))
    processors = columns.plain("cpu_count", gettext_lazy("CPU cores"))
    memory = columns.size("memory_bytes", gettext_lazy("memory"))
    disk_total = columns.size("disk_total_bytes", gettext_lazy("disk"))
    disk_free = columns.size("disk_free_bytes", gettext_lazy("disk free"))
    driver = columns.plain("driver_version", gettext_lazy("GPU driver"))
    gpus_by = columns.plain("gpu_mode", gettext_lazy("GPUs reach jobs by"))
    roots = columns.data("model_roots", gettext_lazy("model folders"))
    agent = columns.plain("agent_version", gettext_lazy("agent version"))
    swift = columns.plain("swift_version", gettext_lazy("SWIFT version"))
    file_service = columns.plain("file_url", gettext_lazy("file service"))
    boot = columns.plain("boot_id", gettext_lazy("boot id"))
    last_heard = columns.when("seen_at", gettext_lazy("last heartbeat"))
    joined = columns.when("joined_at", gettext_lazy("joined"))
    created = columns.when("created_at", gettext_lazy("created"))
    instances = columns.elsewhere(
        "instances", "instance", "node__id__exact", gettext_lazy("instances")
    )
    leases = columns.elsewhere(
        "instances", "devicelease", "node__id__exact", gettext_lazy("device leases")
    )

    strangers = columns.data("unknown", gettext_lazy("runs without its agent knowing it"))
    audited = columns.audited()

    def view_on_site(self, node: Node) -> str | None:
        """Its page for people."""
        return reverse("dashboard:node", args=(node.name,))

    @admin.action(description=gettext_lazy("Cordon"), permissions=["operate"])
    def cordon(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        self.run_each(
            request,
            queryset,
            lambda node: node_cordon(actor=person(request), node=node),
            done=_("Cordoned: nothing new is placed there."),
        )

    @admin.action(description=gettext_lazy("Bring back"), permissions=["operate"])
    def uncordon(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        self.run_each(
            request,
            queryset,
            lambda node: node_uncordon(actor=person(request), node=node),
            done=_("Back: takes new work."),
        )


@admin.register(Device)
class DeviceAdmin(ReadOnlyModelAdmin):
    """GPUs and CPU slots of all nodes."""

    list_display = (
        *("name_shown", "node_shown", "index_shown", "kind_shown", "memory", "is_present"),
        "is_blocked",
    )
    list_filter = (
        ("node", columns.filter_titled(gettext_lazy("node"))),
        ("kind", columns.filter_titled(gettext_lazy("kind"))),
        ("present", columns.filter_titled(gettext_lazy("present"))),
        ("blocked", columns.filter_titled(gettext_lazy("kept from jobs"))),
    )
    search_fields = ("uuid", "name", "node__name")
    list_select_related = ("node",)
    ordering = ("node__name", "index")
    shown = (
        (
            None,
            (
                "name_shown",
                "uuid_shown",
                "node_shown",
                "index_shown",
                "kind_shown",
                "memory",
                "is_present",
                "is_blocked",
                "marks_shown",
                "check_shown",
            ),
        ),
    )

    name_shown = columns.plain("name", gettext_lazy("name"))
    uuid_shown = columns.plain("uuid", "UUID")
    node_shown = columns.linked("node", gettext_lazy("node"))
    index_shown = columns.plain("index", gettext_lazy("number"))
    kind_shown = columns.plain("kind", gettext_lazy("kind"))
    memory = columns.size("memory_bytes", gettext_lazy("memory"))
    is_present = columns.plain("present", gettext_lazy("present"), boolean=True)
    is_blocked = columns.flag("blocked", gettext_lazy("kept from jobs"))
    marks_shown = columns.data("marks", gettext_lazy("what its node says of it"))
    check_shown = columns.data("cuda_check", gettext_lazy("CUDA check"))
