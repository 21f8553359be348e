"""Shapes of the queue's endpoints."""

from typing import Any

from django.contrib.auth.models import Group
from rest_framework import serializers

from loraforge.accounts.models import User
from loraforge.core.api import BoundedListField
from loraforge.nodes.models import Node
from loraforge.scheduling.models import Reservation
from loraforge.scheduling.reserving import REASON_MAX

DEVICES_MAX = 64


class MoveInput(serializers.Serializer[Any]):
    """Where to, among one's own waiting jobs of the same class."""

    move = serializers.ChoiceField(choices=["up", "down", "first", "last"])


class MoveAnswer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    queue_rank = serializers.IntegerField(help_text="Lower goes first among one's own.")


class ReservationInput(serializers.Serializer[Any]):
    """Name a user or a group. Without devices it is the whole node."""

    node = serializers.SlugRelatedField(slug_field="name", queryset=Node.objects.all())
    devices = BoundedListField(
        child=serializers.CharField(max_length=80), required=False, max_length=DEVICES_MAX
    )
    user = serializers.SlugRelatedField(
        slug_field="username", queryset=User.objects.all(), required=False
    )
    group = serializers.SlugRelatedField(
        slug_field="name", queryset=Group.objects.all(), required=False
    )
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField()
    reason = serializers.CharField(max_length=REASON_MAX, allow_blank=True)  # judged with the rest


class ReservationSerializer(serializers.ModelSerializer[Reservation]):
    """Everybody sees when; for whom and why, operators and whom it is for."""

    node = serializers.CharField(source="node.name", read_only=True)
    user = serializers.CharField(source="user.username", read_only=True, default=None)
    group = serializers.CharField(source="group.name", read_only=True, default=None)

    class Meta:
        model = Reservation
        fields = ("id", "node", "devices", "user", "group", "starts_at", "ends_at", "reason")
        read_only_fields = fields

    def to_representation(self, instance: Reservation) -> dict[str, Any]:
        row: dict[str, Any] = super().to_representation(instance)
        if instance.pk not in self.context["known"]:
            row.update(user=None, group=None, reason="")
        return row


class OrderShape(serializers.Serializer[Any]):
    priority_class = serializers.CharField()
    aged = serializers.BooleanField(help_text="Goes first for having waited so long.")
    owner_devices = serializers.IntegerField(help_text="Devices that its owner uses now.")
    own_rank = serializers.IntegerField()
    queued_at = serializers.DateTimeField()


class CapShape(serializers.Serializer[Any]):
    scope = serializers.CharField()
    subject = serializers.CharField()
    kind = serializers.CharField()
    running = serializers.IntegerField()
    limit = serializers.IntegerField()
    full = serializers.BooleanField()


class NodeShape(serializers.Serializer[Any]):
    node = serializers.CharField()
    means = serializers.BooleanField(help_text="The job may go there at all.")
    takes = serializers.BooleanField()
    cordoned = serializers.BooleanField()
    disk_low = serializers.BooleanField()
    avoided = serializers.BooleanField(help_text="It failed there.")
    devices = serializers.IntegerField()
    free = serializers.IntegerField()
    reserved = serializers.IntegerField(help_text="Free ones that are reserved for others.")
    blocked = serializers.IntegerField()
    fits = serializers.BooleanField()
    has_model = serializers.BooleanField(
        help_text="Its cache has the job's model; that decides where equally many devices would stay free."
    )


class ExplainedSerializer(serializers.Serializer[Any]):
    """What a decision about a waiting job is made of."""

    order = OrderShape()
    reason = serializers.CharField()
    detail = serializers.DictField()
    caps = CapShape(many=True)
    nodes = NodeShape(many=True)
