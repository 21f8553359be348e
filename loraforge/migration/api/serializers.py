"""Plain data of migrations and drains."""

from typing import Any

from rest_framework import serializers

from loraforge.migration.models import Drain, Migration, Prefetch


class MigrateInput(serializers.Serializer[Any]):
    """Where a job is to go."""

    node = serializers.CharField(
        required=False,
        default="best",
        max_length=40,
        help_text="Name of a node; `best` leaves it to the platform.",
    )


class MigrationOutput(serializers.ModelSerializer[Migration]):
    """A move, and how far it is."""

    source: Any = serializers.SlugRelatedField(slug_field="name", read_only=True)
    target = serializers.CharField(source="target.name", read_only=True)
    number = serializers.IntegerField(read_only=True, help_text="of the step, 1 to 8")
    actor = serializers.CharField(
        source="actor.username", read_only=True, allow_null=True, default=None
    )

    class Meta:
        model = Migration
        fields = (
            "id", "state", "step", "number", "source", "source_attempt", "target", "target_attempt",
            "is_best", "checkpoint_attempt", "checkpoint_step", "copied_bytes", "total_bytes", "error",
            "error_detail", "actor", "created_at", "step_at", "ended_at",
        )  # fmt: skip
        read_only_fields = fields


class DrainInput(serializers.Serializer[Any]):
    """How a node is emptied."""

    mode = serializers.ChoiceField(choices=["migrate", "wait"], default="migrate")
    deadline_s = serializers.IntegerField(
        required=False,
        allow_null=True,
        default=None,
        help_text="Seconds from now: what still runs then is stopped with a checkpoint.",
    )


class DrainOutput(serializers.ModelSerializer[Drain]):
    """A drain."""

    node = serializers.CharField(source="node.name", read_only=True)

    class Meta:
        model = Drain
        fields = ("id", "node", "mode", "deadline_at", "created_at", "ended_at", "is_done")
        read_only_fields = fields


class PrefetchInput(serializers.Serializer[Any]):
    """A model of a hub that everybody may have."""

    hub = serializers.ChoiceField(choices=Prefetch.Hub.choices)
    model = serializers.CharField(max_length=200, help_text="organisation/name")
    revision = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=128, help_text="empty = the newest"
    )


class PrefetchOutput(serializers.ModelSerializer[Prefetch]):
    """How far a fetch is."""

    node = serializers.CharField(source="node.name", read_only=True)
    model = serializers.CharField(source="repo", read_only=True)

    class Meta:
        model = Prefetch
        fields = (
            "id", "node", "hub", "model", "revision", "state", "done_bytes", "total_bytes", "error",
            "detail", "created_at", "ended_at",
        )  # fmt: skip
        read_only_fields = fields
