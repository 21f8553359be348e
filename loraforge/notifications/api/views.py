"""One's own notifications."""

from typing import Any, ClassVar

import django_filters
from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.mixins import ListModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Viewset, signed_in
from loraforge.notifications import selectors, services
from loraforge.notifications.api.serializers import NotificationSerializer, ReadAllSerializer
from loraforge.notifications.models import Notification


class NotificationFilter(django_filters.FilterSet):
    """``?unread=true``."""

    unread = django_filters.BooleanFilter(field_name="read_at", lookup_expr="isnull")

    class Meta:
        model = Notification
        fields: ClassVar[list[str]] = []


class NotificationViewset(ListModelMixin, Viewset):
    """What the asker was told about own jobs."""

    queryset = Notification.objects.all()
    lookup_value_regex = r"[0-9]{1,18}"
    serializer_class = NotificationSerializer
    filterset_class = NotificationFilter
    needs: ClassVar[dict[str, Action | None]] = {"list": None, "read": None, "read_all": None}

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return Notification.objects.none()
        return selectors.notification_list(user=self.request.user)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def read(self, request: Request, pk: str) -> Response:
        """Mark one as read."""
        row = services.notification_read(actor=signed_in(request), notification_id=int(pk))
        return Response(self.get_serializer(row).data)

    @extend_schema(request=None, responses=ReadAllSerializer)
    @action(detail=False, methods=["post"], url_path="read-all")
    def read_all(self, request: Request) -> Response:
        """Mark all as read."""
        return Response({"read": services.notifications_read_all(actor=signed_in(request))})
