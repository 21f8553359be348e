"""Jobs in the admin: to look at, to stop and to run again. What is pressed goes through the services."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyInline, ReadOnlyModelAdmin, person
from loraforge.instances.admin import STATE_LOOKS
from loraforge.training.models import IdempotencyKey, Job, JobDataset
from loraforge.training.services import job_cancel, job_retry, job_stop


class JobDatasetInline(ReadOnlyInline):
    model = JobDataset
    fields = ("dataset_shown", "use_shown", "place", "hash")
    show_change_link = False

    dataset_shown = columns.linked("dataset", gettext_lazy("dataset"))
    use_shown = columns.plain("use", gettext_lazy("use"))
    place = columns.plain("position", gettext_lazy("number"))
    hash = columns.plain("sha256", "SHA-256")

    def get_queryset(self, request: HttpRequest) -> QuerySet[JobDataset]:
        rows: QuerySet[JobDataset] = super().get_queryset(request)
        return rows.select_related("dataset")


@admin.register(Job)
class JobAdmin(ReadOnlyModelAdmin):
    """A SWIFT job: what it runs, whose it is, where it is."""

    list_display = (
        *("number", "name", "owner", "model_short", "state", "node", "failed_for", "created"),
    )
    list_display_links = ("number", "name")
    list_filter = (
        ("instance__state", columns.filter_titled(gettext_lazy("state"))),
        ("instance__node", columns.filter_titled(gettext_lazy("node"))),
        "command",
        ("instance__owner", columns.filter_titled(gettext_lazy("owner"))),
        ("instance__failure_reason", columns.filter_titled(gettext_lazy("failure"))),
    )
    search_fields = ("instance__name", "model", "=instance__id", "instance__owner__username")
    list_select_related = ("instance__owner", "instance__node")
    date_hierarchy = "instance__created_at"
    inlines = (JobDatasetInline,)
    actions = ("stop_save", "stop_now", "run_again")
    shown = (
        (
            None,
            (
                *(
                    "instance_shown",
                    "owner",
                    "state",
                    "node",
                    "attempt",
                    "failed_by",
                    "failed_with",
                ),
                *("files", "audited", "parent_shown"),
            ),
        ),
        (
            gettext_lazy("Settings"),
            (
                "command",
                "model_shown",
                "hub",
                "revision",
                "kind_of_model",
                "template",
                "arguments_shown",
            ),
        ),
        (
            gettext_lazy("Frozen"),
            ("seed_shown", "argv_shown", "launched_shown", "image_shown", "catalogue"),
        ),
    )

    number = columns.number("pk", gettext_lazy("number"))
    name = columns.short("instance.name", gettext_lazy("name"))
    owner = columns.linked("instance.owner", gettext_lazy("owner"))
    model_shown = columns.plain("model", gettext_lazy("base model"))
    model_short = columns.last_part("model", gettext_lazy("base model"))
    state = columns.chip("instance.state", gettext_lazy("state"), STATE_LOOKS)
    node = columns.linked("instance.node", gettext_lazy("node"))
    attempt = columns.plain("instance.attempt", gettext_lazy("attempt"))
    failed_for = columns.reason(
        (("instance.failure_reason", "instance.failure_detail"),), gettext_lazy("failure")
    )
    failed_by = columns.plain("instance.failure_reason", gettext_lazy("failure"))
    failed_with = columns.plain("instance.failure_detail", gettext_lazy("failure, in detail"))
    created = columns.when("instance.created_at", gettext_lazy("created"))
    instance_shown = columns.linked("instance", gettext_lazy("instance"))
    parent_shown = columns.linked("parent", gettext_lazy("copied from"))
    hub = columns.plain("model_hub", gettext_lazy("hub"))
    revision = columns.plain("model_revision", gettext_lazy("revision"))
    kind_of_model = columns.plain("model_type", gettext_lazy("model type"))
    arguments_shown = columns.data("arguments", gettext_lazy("arguments"))
    seed_shown = columns.plain("seed", gettext_lazy("seed"))
    argv_shown = columns.data("argv", gettext_lazy("command line"))
    launched_shown = columns.data("launched", gettext_lazy("sent to nodes"))
    image_shown = columns.plain("image", gettext_lazy("image"))
    catalogue = columns.plain("catalogue_version", gettext_lazy("version of the arguments"))
    files = columns.elsewhere(
        "artifacts", "outputfile", "attempt__instance__id__exact", gettext_lazy("output files")
    )
    audited = columns.audited("instance")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Job]:
        rows: QuerySet[Job] = super().get_queryset(request)
        return rows.filter(instance__deleted_at=None).order_by("-pk")

    def view_on_site(self, job: Job) -> str:
        """Its page for people."""
        return reverse("dashboard:job", args=(job.pk,))

    def lookup_allowed(self, lookup: str, value: str, request: Any = None) -> bool:
        """The link of a dataset filters by this."""
        ours = {"job_datasets__dataset__id__exact"}
        return lookup in ours or super().lookup_allowed(lookup, value, request)

    @admin.action(description=gettext_lazy("Stop and save"), permissions=["operate"])
    def stop_save(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self.run_each(
            request,
            queryset,
            lambda job: job_stop(actor=person(request), job=job),
            done=_("Asked to save and stop."),
        )

    @admin.action(description=gettext_lazy("Stop now"), permissions=["operate"])
    def stop_now(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self.run_each(
            request,
            queryset,
            lambda job: job_cancel(actor=person(request), job=job),
            done=_("Asked to stop at once."),
        )

    @admin.action(description=gettext_lazy("Run again from the beginning"), permissions=["operate"])
    def run_again(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        self.run_each(
            request,
            queryset,
            lambda job: job_retry(actor=person(request), job=job),
            done=_("Queued again."),
        )


@admin.register(IdempotencyKey)
class IdempotencyKeyAdmin(ReadOnlyModelAdmin):
    """Which request made which job, for programs that ask twice."""

    list_display = ("text", "owner_shown", "job_shown")
    list_filter = (("owner", columns.filter_titled(gettext_lazy("owner"))),)
    search_fields = ("key", "owner__username", "=job__instance__id")
    list_select_related = ("owner", "job__instance")
    ordering = ("-id",)
    shown = ((None, ("text", "owner_shown", "job_shown", "hash")),)

    text = columns.short("key", gettext_lazy("key"))
    owner_shown = columns.linked("owner", gettext_lazy("owner"))
    job_shown = columns.linked("job", gettext_lazy("job"))
    hash = columns.plain("request_hash", gettext_lazy("hash of the request"))
