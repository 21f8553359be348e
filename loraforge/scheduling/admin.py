"""Limits of running jobs, and reservations of devices: operators add and change them, services judge."""

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts import admin_columns as columns
from loraforge.accounts.admin_base import ReadOnlyModelAdmin, person
from loraforge.scheduling import reserving
from loraforge.scheduling.models import Reservation, RunCap


class CapForm(forms.ModelForm):  # type: ignore[type-arg]
    """Judged as the service does, each problem beside its field."""

    class Meta:
        model = RunCap
        fields = ("scope", "user", "group", "kind", "limit", "notes")

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = super().clean() or self.cleaned_data
        if not self.errors:
            for name in self.Meta.fields:
                setattr(self.instance, name, given[name])
            for name, texts in reserving.cap_problems(self.instance).items():
                self.add_error(name, texts)
        return given


@admin.register(RunCap)
class RunCapAdmin(ReadOnlyModelAdmin):
    """Nearer than the settings: for everybody, each or one user or group, and by kind of job."""

    form = CapForm
    list_display = ("of", "scope_shown", "kind_shown", "limit_shown", "noted")
    list_filter = (
        ("scope", columns.filter_titled(gettext_lazy("for"))),
        ("kind", columns.filter_titled(gettext_lazy("kind of job"))),
    )
    search_fields = ("user__username", "group__name", "notes")
    list_select_related = ("user", "group")
    readonly_fields = ("audited",)
    fields = ("scope", "user", "group", "kind", "limit", "notes", "audited")
    actions = ("delete_selected",)

    scope_shown = columns.plain("scope", gettext_lazy("for"))
    kind_shown = columns.plain("kind", gettext_lazy("kind of job"))
    limit_shown = columns.plain("limit", gettext_lazy("at most"))
    noted = columns.short("notes", gettext_lazy("notes"))
    audited = columns.audited()

    @admin.display(description=gettext_lazy("whom"))
    def of(self, cap: RunCap) -> str:
        return str(cap.user or cap.group or cap.get_scope_display())

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_operate_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_operate_permission(request)

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.has_operate_permission(request)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:  # noqa: FBT001
        reserving.cap_save(actor=person(request), cap=obj)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        reserving.cap_delete(actor=person(request), cap=obj)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[RunCap]) -> None:
        for cap in queryset:
            reserving.cap_delete(actor=person(request), cap=cap)


@admin.register(Reservation)
class ReservationAdmin(ReadOnlyModelAdmin):
    """Who has which devices for themselves, and when. Added on the page of the queue, cancelled here or there."""

    list_display = ("node_shown", "holder_shown", "starts", "ends", "reason_shown", "cancelled")
    list_filter = (
        ("node", columns.filter_titled(gettext_lazy("node"))),
        (
            "cancelled_at",
            columns.filter_titled(gettext_lazy("cancelled"), admin.EmptyFieldListFilter),
        ),
    )
    search_fields = ("node__name", "user__username", "group__name", "reason")
    list_select_related = ("node", "user", "group")
    date_hierarchy = "starts_at"
    ordering = ("-starts_at",)
    actions = ("cancel",)
    shown = (
        (
            None,
            (
                *("node_shown", "devices_shown", "holder_shown", "starts", "ends", "reason_shown"),
                *("created_shown", "created", "cancelled", "audited"),
            ),
        ),
    )

    node_shown = columns.linked("node", gettext_lazy("node"))
    devices_shown = columns.joined("devices", gettext_lazy("devices"))
    starts = columns.when("starts_at", gettext_lazy("starts"))
    ends = columns.when("ends_at", gettext_lazy("ends"))
    reason_shown = columns.short("reason", gettext_lazy("reason"))
    created_shown = columns.linked("created_by", gettext_lazy("created by"))
    created = columns.when("created_at", gettext_lazy("created"))
    cancelled = columns.when("cancelled_at", gettext_lazy("cancelled"))
    audited = columns.audited()

    @admin.display(description=gettext_lazy("for"))
    def holder_shown(self, row: Reservation) -> str:
        return row.holder

    @admin.action(description=gettext_lazy("Cancel"), permissions=["operate"])
    def cancel(self, request: HttpRequest, queryset: QuerySet[Reservation]) -> None:
        self.run_each(
            request,
            queryset,
            lambda row: reserving.reservation_cancel(actor=person(request), reservation=row),
            done=_("Cancelled."),
        )
