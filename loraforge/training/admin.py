"""Jobs in the admin: to look at. What is pressed goes through the services, on the pages."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from loraforge.accounts.admin_base import ReadOnlyInline, ReadOnlyModelAdmin
from loraforge.instances.models import Attempt
from loraforge.training.models import Job, JobDataset


def _link(row: Any) -> str:
    if row is None:
        return "-"
    address = reverse(f"admin:{row._meta.app_label}_{row._meta.model_name}_change", args=(row.pk,))
    return format_html('<a href="{}">{}</a>', address, row)


class JobDatasetInline(ReadOnlyInline):
    model = JobDataset
    fields = ("dataset", "use", "position", "sha256")


@admin.register(Job)
class JobAdmin(ReadOnlyModelAdmin):
    """A SWIFT job: what it runs, whose it is, where it is."""

    list_display = ("number", "name", "owner", "command", "model", "state", "node", "attempt")
    list_display_links = ("number", "name")
    list_filter = ("command", "instance__state", "instance__node")
    search_fields = ("instance__name", "model", "=instance__id", "instance__owner__username")
    list_select_related = ("instance__owner", "instance__node")
    inlines = (JobDatasetInline,)
    readonly_fields = ("instance_link", "owner", "state", "node_link", "attempts")
    fieldsets = (
        (None, {"fields": ("instance_link", "owner", "state", "node_link", "attempts", "parent")}),
        (_("Settings"), {"fields": ("command", "model", "model_hub", "model_revision")}),
        (_("Frozen"), {"fields": ("arguments", "seed", "argv", "env", "launched", "image")}),
        (_("Versions"), {"fields": ("catalogue_version", "model_type", "template")}),
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        rows: QuerySet[Job] = super().get_queryset(request)
        return rows.filter(instance__deleted_at=None).order_by("-pk")

    @admin.display(description=_("number"), ordering="pk")
    def number(self, job: Job) -> str:
        return f"#{job.pk}"

    @admin.display(description=_("name"), ordering="instance__name")
    def name(self, job: Job) -> str:
        return job.instance.name

    @admin.display(description=_("owner"), ordering="instance__owner__username")
    def owner(self, job: Job) -> str:
        return _link(job.instance.owner)

    @admin.display(description=_("state"), ordering="instance__state")
    def state(self, job: Job) -> str:
        return job.instance.get_state_display()

    @admin.display(description=_("node"), ordering="instance__node__name")
    def node(self, job: Job) -> str:
        return str(job.instance.node or "-")

    @admin.display(description=_("attempt"), ordering="instance__attempt")
    def attempt(self, job: Job) -> int:
        return job.instance.attempt

    @admin.display(description=_("instance"))
    def instance_link(self, job: Job) -> str:
        return _link(job.instance)

    @admin.display(description=_("node"))
    def node_link(self, job: Job) -> str:
        return _link(job.instance.node)

    @admin.display(description=_("attempts"))
    def attempts(self, job: Job) -> str:
        rows = Attempt.objects.filter(instance_id=job.pk).select_related("node")
        return ", ".join(f"{row.number}: {row.node} {row.phase or '-'}" for row in rows) or "-"
