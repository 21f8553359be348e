from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.admin_base import ReadOnlyInline, ReadOnlyModelAdmin
from loraforge.nodes.models import Device, Node
from loraforge.nodes.services import node_cordon, node_uncordon


class DeviceInline(ReadOnlyInline):
    model = Device
    fields = readonly_fields = ("index", "kind", "uuid", "name", "memory_bytes", "present")
    extra = 0
    can_delete = False


@admin.register(Node)
class NodeAdmin(ReadOnlyModelAdmin):
    """To look, and to cordon; nodes are added by ``manage.py node_add``, which shows the token once."""

    list_display = ("name", "state", "cordoned", "runtime", "hostname", "seen_at", "swift_version")
    list_filter = ("state", "cordoned", "runtime")
    search_fields = ("name", "hostname")
    exclude = ("token_digest",)
    inlines = (DeviceInline,)
    actions = ("cordon", "uncordon")

    def has_operate_permission(self, request: HttpRequest) -> bool:
        """Who may run the actions below."""
        return access.may(request.user, Action.OPERATE)

    @admin.action(description=gettext_lazy("Cordon"), permissions=["operate"])
    def cordon(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        for node in queryset:
            node_cordon(actor=request.user, node=node)  # type: ignore[arg-type]
        messages.success(request, _("Cordoned: nothing new is placed there."))

    @admin.action(description=gettext_lazy("Bring back"), permissions=["operate"])
    def uncordon(self, request: HttpRequest, queryset: QuerySet[Node]) -> None:
        for node in queryset:
            node_uncordon(actor=request.user, node=node)  # type: ignore[arg-type]
        messages.success(request, _("Back: takes new work."))
