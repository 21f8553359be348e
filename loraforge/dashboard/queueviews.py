"""The page of the queue, and what a decision about one waiting job is made of."""

from typing import Any

from django.contrib.auth.models import Group
from django.core.paginator import Paginator
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.errors import NotFound
from loraforge.dashboard import queue
from loraforge.dashboard.views import PAGE_SIZE, DashboardPage, LivePage
from loraforge.instances.selectors import instance_get
from loraforge.instances.states import State
from loraforge.nodes.selectors import node_list
from loraforge.scheduling.reasons import reason_text
from loraforge.scheduling.selectors import explained_get


class QueuePage(LivePage):
    """What waits, why and until when; operators see everybody's, and reserve devices."""

    template_name = "dashboard/queue.html"
    part_template = "dashboard/partials/_queue.html"
    part_id = "queue"

    @property
    def only_own(self) -> bool:
        """True unless somebody may and wants to see what others have waiting."""
        return not access.sees_all(self.person) or self.request.GET.get("mine") == "1"

    def part_context(self) -> dict[str, Any]:
        rows = queue.waiting_list(user=self.person, only_own=self.only_own)
        page = Paginator(queue.waiting_columns(rows), PAGE_SIZE).get_page(
            self.request.GET.get("page")
        )
        page.object_list = queue.waiting_lines(user=self.person, rows=list(page.object_list))
        return {
            "page": page,
            "only_own": self.only_own,
            "classes": queue.class_choices(),
            "totals": queue.queue_totals(user=self.person),
            "running": queue.running_lines(user=self.person),
            "reservations": queue.reservation_lines(user=self.person),
        }

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        form: dict[str, Any] = {}
        if access.may(self.person, Action.OPERATE):
            form = {
                "nodes": queue.reservable(node_list(user=self.person)),
                "people": list(
                    User.objects.order_by("username").values_list("username", flat=True)
                ),
                "groups": list(Group.objects.order_by("name").values_list("name", flat=True)),
            }
        return super().get_context_data(form=form, only_own=self.only_own, **kwargs)


class QueueExplainPartial(DashboardPage):
    """Order, limits and nodes that decide about a waiting job. 404 once it does not wait any more."""

    template_name = "dashboard/partials/_queue_explain.html"
    needs = Action.OPERATE

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        instance = instance_get(user=self.person, instance_id=self.kwargs["instance_id"])
        if instance.state != State.QUEUED:
            raise NotFound("scheduling:not_waiting", _("It does not wait any more."))
        explained = explained_get(instance=instance)
        why = reason_text(reason=explained.reason, detail=explained.detail)
        return super().get_context_data(
            instance=instance,
            explained=explained,
            why=why if explained.reason else _("It starts next."),
            label=queue.CLASS_LABELS[explained.order["priority_class"]],
            caps=[(queue.cap_text(cap), cap) for cap in explained.caps],
            nodes=[(queue.verdict_text(node), node) for node in explained.nodes],
            **kwargs,
        )
