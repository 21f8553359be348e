import uuid

from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class DatasetState(models.TextChoices):
    READY = "ready", _("Ready")
    INVALID = "invalid", _("Not usable")


class Dataset(models.Model):
    """Rows to train on: a verified upload, or a remote dataset known by its hub id.

    A code file (reward functions) is kept, shared and counted like an upload, and is no dataset on the
    screen: lists leave it out unless they ask for its kind.
    """

    class Kind(models.TextChoices):
        UPLOADED = "uploaded", _("Uploaded")
        REMOTE = "remote", _("Remote dataset")
        # No rows: Python that a job loads inside its container, and nobody else ever does.
        CODE = "code", _("Code file")

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="datasets"
    )
    name = models.CharField(_("name"), max_length=200)
    kind = models.CharField(max_length=8, choices=Kind.choices, default=Kind.UPLOADED)
    state = models.CharField(_("state"), max_length=8, choices=DatasetState.choices)
    remote_id = models.CharField(
        max_length=200, blank=True
    )  # remote only, e.g. AI-ModelScope/alpaca-gpt4-data-zh
    storage_name = models.CharField(
        max_length=200, blank=True
    )  # made by the server; never the user's file name
    size_bytes = models.BigIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    rows = models.BigIntegerField(_("rows"), default=0)
    row_format = models.CharField(
        _("format"), max_length=30, blank=True
    )  # messages, query_response, ...
    file_format = models.CharField(_("file"), max_length=8, default="jsonl")  # as it was uploaded
    traits = models.JSONField(
        default=list, blank=True
    )  # what rows bring besides: answer, rejected, label ...
    column_names = models.JSONField(default=list, blank=True)  # as uploaded, the first 100
    columns = models.JSONField(
        default=dict, blank=True
    )  # column as uploaded -> SWIFT's name for it
    statistics = models.JSONField(default=dict, blank=True)  # `statistics.Statistics` as plain data
    index_name = models.CharField(max_length=210, blank=True)  # in the storage; see `rowindex`
    # A further version of a dataset is a row of its own, so that what has used one keeps it.
    version = models.PositiveIntegerField(_("version"), default=1)
    first = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="later"
    )
    # The first 20: [{"line": 7, "id": "rows:...", "params": {...}, "message": "..."}]; line 0 = the whole file.
    errors = models.JSONField(default=list, blank=True)
    error_count = models.BigIntegerField(default=0)
    preview = models.JSONField(default=list, blank=True)  # the first rows, cut to a few KiB
    # of a code file: names of the reward functions that it registers
    rewards = models.JSONField(default=list, blank=True)
    notes = models.JSONField(default=list, blank=True)  # ids of what was tolerated, e.g. "rows:bom"
    created_at = models.DateTimeField(db_default=Now())
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("dataset")
        verbose_name_plural = _("datasets")
        ordering = ("-id",)
        permissions = [("use_dataset", "Can train on and download the dataset")]
        indexes = [models.Index(fields=("owner", "-id"), name="datasets_owner_newest")]

    def __str__(self) -> str:
        return self.name

    @property
    def filename(self) -> str:
        """As which it is downloaded."""
        return f"{self.name}.py" if self.kind == self.Kind.CODE else f"{self.name}.jsonl"


class Upload(models.Model):
    """A tus upload in progress: bytes [0, offset) are on disk and fsynced."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="uploads"
    )
    filename = models.CharField(max_length=255)
    size_bytes = models.BigIntegerField()
    offset_bytes = models.BigIntegerField(default=0)
    locked_until = models.DateTimeField(null=True, blank=True)
    lock_token = models.CharField(max_length=32, blank=True)
    sha256 = models.CharField(max_length=64, blank=True)  # as the client announced it, else empty
    checked_bytes = models.BigIntegerField(
        default=0
    )  # progress of the check once all bytes are here
    check_tries = models.PositiveSmallIntegerField(
        default=0
    )  # starts of a check that have not come to an end
    dataset = models.ForeignKey(
        Dataset, on_delete=models.SET_NULL, null=True, blank=True, related_name="uploads"
    )
    columns = models.JSONField(default=dict, blank=True)  # as in Dataset
    version_of = models.ForeignKey(
        Dataset, on_delete=models.SET_NULL, null=True, blank=True, related_name="version_uploads"
    )
    # a dataset whose rows are checked once more, with other columns
    recheck_of = models.ForeignKey(
        Dataset, on_delete=models.CASCADE, null=True, blank=True, related_name="rechecks"
    )
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField()

    class Meta:
        verbose_name = _("upload")
        verbose_name_plural = _("uploads")
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return self.filename


auditlog.register(
    Dataset,
    exclude_fields=["preview", "errors", "notes", "statistics", "column_names", "index_name"],
)
