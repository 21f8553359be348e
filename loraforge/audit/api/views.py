"""The audit log: read only, for operators and administrators."""

from datetime import UTC, datetime
from typing import Any, ClassVar

import django_filters
from auditlog.models import LogEntry
from django.core.exceptions import ValidationError
from django.db.models import QuerySet
from django_filters.fields import IsoDateTimeField
from rest_framework import serializers
from rest_framework.mixins import ListModelMixin

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Viewset, signed_in
from loraforge.audit import selectors

_VERBS = {
    LogEntry.Action.CREATE: "create",
    LogEntry.Action.UPDATE: "update",
    LogEntry.Action.DELETE: "delete",
    LogEntry.Action.ACCESS: "access",
}


class AuditEntryOutput(serializers.ModelSerializer[LogEntry]):
    at = serializers.DateTimeField(source="timestamp")
    actor = serializers.CharField(source="actor.username", default=None, allow_null=True)
    verb = serializers.SerializerMethodField()
    what = serializers.SerializerMethodField()
    object_type = serializers.SerializerMethodField()
    object_id = serializers.CharField(source="object_pk")
    object_name = serializers.CharField(source="object_repr")
    changes = serializers.JSONField(allow_null=True)

    class Meta:
        model = LogEntry
        fields = (
            "id", "at", "actor", "verb", "what", "object_type", "object_id", "object_name",
            "changes", "remote_addr",
        )  # fmt: skip
        read_only_fields = fields

    def get_verb(self, entry: LogEntry) -> str:
        """create, update, delete or access."""
        return _VERBS.get(entry.action, "update")

    def get_what(self, entry: LogEntry) -> str:
        """`app:verb` where an action changed no column; else empty."""
        extra = entry.additional_data
        return str(extra.get("what", "")) if isinstance(extra, dict) else ""

    def get_object_type(self, entry: LogEntry) -> str:
        """`app.model`."""
        return f"{entry.content_type.app_label}.{entry.content_type.model}"


class MomentField(IsoDateTimeField):
    """A moment in UTC. PostgreSQL refuses offsets of 16 hours and more, which ISO 8601 can write."""

    def to_python(self, value: Any) -> datetime | None:
        """Raises ValidationError for what is no moment of the calendar in UTC."""
        try:
            parsed: datetime | None = super().to_python(value)
            return parsed and parsed.astimezone(UTC)
        except OverflowError as error:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from error


class MomentFilter(django_filters.IsoDateTimeFilter):
    field_class = MomentField


class AuditFilter(django_filters.FilterSet):
    """``?actor=alice&object_type=instances.instance&object_id=41&after=2026-01-01T00:00:00Z``"""

    actor = django_filters.CharFilter(
        field_name="actor__username", max_length=150, label="A user name, exactly."
    )
    object_type = django_filters.CharFilter(
        method="by_type", max_length=200, label="app.model, e.g. instances.instance"
    )
    object_id = django_filters.CharFilter(field_name="object_pk", max_length=255)
    after = MomentFilter(field_name="timestamp", lookup_expr="gte")
    before = MomentFilter(field_name="timestamp", lookup_expr="lt")

    class Meta:
        model = LogEntry
        fields: ClassVar[list[str]] = []

    def by_type(self, rows: QuerySet[LogEntry], _name: str, value: str) -> QuerySet[LogEntry]:
        """Both halves of ``app.model``."""
        app_label, _dot, model = value.partition(".")
        found: QuerySet[LogEntry] = rows.filter(
            content_type__app_label=app_label, content_type__model=model
        )
        return found


class AuditEntries(ListModelMixin, Viewset):
    """Who did what to what, newest first."""

    queryset = LogEntry.objects.none()
    serializer_class = AuditEntryOutput
    filterset_class = AuditFilter
    needs = {"list": Action.AUDIT}

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return super().get_queryset()
        rows: QuerySet[Any] = selectors.entry_list(user=signed_in(self.request))
        return rows
