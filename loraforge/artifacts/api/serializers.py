"""Plain data of output files."""

from typing import Any, TypedDict

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from loraforge.artifacts.models import OutputFile, ResultCopy
from loraforge.artifacts.roles import Role, checkpoint_of, role_of
from loraforge.core.api import WholeField


class CheckpointMark(TypedDict):
    """The checkpoint that a file belongs to."""

    step: int
    path: str
    is_latest: bool
    is_best: bool


class CheckpointMarkSerializer(serializers.Serializer[CheckpointMark]):
    """The checkpoint that a file belongs to."""

    step = serializers.IntegerField()
    path = serializers.CharField(help_text="the checkpoint's folder")
    is_latest = serializers.BooleanField()
    is_best = serializers.BooleanField(help_text="by the trainer's own metric")


class OutputFileSerializer(serializers.ModelSerializer[OutputFile]):
    """A file of the manifest. The context's ``checkpoints`` are those of the instance."""

    attempt = serializers.IntegerField(source="attempt.number", read_only=True)
    role = serializers.SerializerMethodField()
    checkpoint = serializers.SerializerMethodField()
    is_kept = serializers.SerializerMethodField()

    class Meta:
        model = OutputFile
        fields = (
            *("attempt", "path", "size_bytes", "sha256", "modified_at", "role", "checkpoint"),
            "is_kept",
        )
        read_only_fields = fields

    def get_is_kept(self, file: OutputFile) -> bool:
        """Whether the control plane has a copy, so that the node is not needed any more."""
        copy = getattr(file, "copy", None)
        return copy is not None and copy.state == ResultCopy.State.KEPT

    @extend_schema_field(
        serializers.ChoiceField(choices=[(role.value, role.value) for role in Role])
    )
    def get_role(self, file: OutputFile) -> str:
        return role_of(file.path).value

    @extend_schema_field(CheckpointMarkSerializer(allow_null=True))
    def get_checkpoint(self, file: OutputFile) -> CheckpointMark | None:
        folder = checkpoint_of(file.path)
        if folder is None:
            return None
        found = self.context["checkpoints"].get((file.attempt.number, folder[0]))
        if found is None:  # rotated away since the page was read
            return None
        return {
            "step": found.step,
            "path": found.path,
            "is_latest": found.is_latest,
            "is_best": found.is_best,
        }


class ArtifactQuerySerializer(serializers.Serializer[Any]):
    """Which attempt, and which folder or file."""

    attempt = WholeField(min_value=1, required=False, help_text="default: any")
    prefix = serializers.CharField(max_length=1000, required=False, default="", allow_blank=True)


class ArtifactZipQuerySerializer(ArtifactQuerySerializer):
    """Which attempt and folder, and how much of it."""

    CONTENTS = (("all", "all"), ("weights", "weights"))

    content = serializers.ChoiceField(
        choices=CONTENTS,
        required=False,
        default="all",
        help_text="weights: only what a model is loaded by (the LoRA weights with their configuration) of the"
        " checkpoint in `prefix`, default: of the newest; no optimizer, no trainer's state",
    )
