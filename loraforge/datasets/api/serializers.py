"""Plain data of datasets and uploads."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from loraforge.core.api import WholeField
from loraforge.datasets.columns import TARGETS
from loraforge.datasets.models import Dataset, Upload
from loraforge.datasets.problems import text_of, texts_of_errors


class RowErrorSerializer(serializers.Serializer[dict[str, Any]]):
    """What is wrong with a line; line 0 is the whole file."""

    line = serializers.IntegerField()
    id = serializers.CharField()
    message = serializers.CharField()


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    """A dataset. Rows themselves are not here: they are only for those who may download."""

    owner = serializers.CharField(source="owner.username", read_only=True)
    errors = serializers.SerializerMethodField(  # type: ignore[assignment]
        help_text="the first 20; error_count counts all"
    )
    notes = serializers.SerializerMethodField(help_text="what was tolerated")

    class Meta:
        model = Dataset
        fields = (
            "id", "name", "owner", "kind", "state", "remote_id", "size_bytes", "sha256", "rows",
            "row_format", "file_format", "traits", "column_names", "columns", "statistics", "version", "rewards",
            "errors", "error_count", "notes", "created_at",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(RowErrorSerializer(many=True))
    def get_errors(self, dataset: Dataset) -> list[dict[str, Any]]:
        return texts_of_errors(dataset.errors)

    def get_notes(self, dataset: Dataset) -> list[str]:
        return [text_of(note) for note in dataset.notes]


class RemoteDatasetSerializer(serializers.Serializer[Any]):
    """A dataset of a model hub, named by its id."""

    remote_id = serializers.CharField(
        max_length=200, help_text="[HF::|MS::]org/name[:subset][#rows], ModelScope by default"
    )
    name = serializers.CharField(max_length=200, required=False, allow_blank=True, default="")


class ColumnsSerializer(serializers.Serializer[Any]):
    """Which column is what."""

    columns = serializers.DictField(
        child=serializers.ChoiceField(choices=TARGETS),
        help_text="Name of a column -> SWIFT's name for it; {} = as they are.",
    )


class RowsQuerySerializer(serializers.Serializer[Any]):
    """Which rows to show."""

    offset = WholeField(min_value=0, max_value=10_000_000, default=0)
    limit = WholeField(min_value=1, max_value=100, default=20)


class RowsSerializer(serializers.Serializer[Any]):
    """Rows, each cut to fit on a page."""

    offset = serializers.IntegerField()
    count = serializers.IntegerField(help_text="rows of the whole dataset")
    rows = serializers.ListField(child=serializers.JSONField())


class UploadSerializer(serializers.ModelSerializer[Upload]):
    """An upload: how far it is, and, once it is checked, the id of its dataset."""

    is_complete = serializers.SerializerMethodField(
        help_text="all bytes are here; the check follows"
    )

    class Meta:
        model = Upload
        fields = (
            "id", "filename", "size_bytes", "offset_bytes", "is_complete", "checked_bytes", "dataset",
            "created_at", "expires_at",
        )  # fmt: skip
        read_only_fields = fields

    def get_is_complete(self, upload: Upload) -> bool:
        return upload.offset_bytes == upload.size_bytes
