from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.instances.models import Attempt
from loraforge.nodes.models import Node


class StreamPosition(models.Model):
    """How much of a file of an attempt is stored: bytes [0, end). Written with the rows, so never ahead of them.

    size: the file's final size, once the node told it; None before. left_out_lines, left_out_bytes: of the
    log, over the rate caps, see LogGap.
    """

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="positions")
    stream = models.CharField(max_length=8)  # log, metric, event
    end = models.PositiveBigIntegerField(default=0)
    size = models.PositiveBigIntegerField(null=True, blank=True)
    left_out_lines = models.PositiveBigIntegerField(default=0)
    left_out_bytes = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("attempt", "stream"), name="telemetry_position_once")
        ]

    def __str__(self) -> str:
        return f"{self.stream} {self.end}"


class LogChunk(models.Model):
    """Bytes [start, end) of console.log as they are; merged into larger ones when the attempt has ended."""

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="log_chunks")
    start = models.PositiveBigIntegerField()
    end = models.PositiveBigIntegerField()
    newlines = models.PositiveIntegerField()
    data = models.BinaryField()

    class Meta:
        ordering = ("attempt_id", "start")
        constraints = [
            models.UniqueConstraint(fields=("attempt", "start"), name="telemetry_chunk_once")
        ]

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"


class LogGap(models.Model):
    """Bytes [start, end) of console.log that were not sent: more lines a second than the rate caps allow.

    Its file has them. LogChunks lie on either side, and a line ends before it.
    """

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="log_gaps")
    start = models.PositiveBigIntegerField()
    end = models.PositiveBigIntegerField()
    lines = models.PositiveBigIntegerField()

    class Meta:
        verbose_name = _("gap of a log")
        verbose_name_plural = _("gaps of logs")
        ordering = ("attempt_id", "start")
        constraints = [
            models.UniqueConstraint(fields=("attempt", "start"), name="telemetry_gap_once")
        ]

    def __str__(self) -> str:
        return f"[{self.start}, {self.end}) {self.lines}"


class MetricRow(models.Model):
    """One line of SWIFT's logging.jsonl, at bytes [start, end); `log_history` of the last line is left out."""

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="metric_rows")
    start = models.PositiveBigIntegerField()
    end = models.PositiveBigIntegerField()
    step = models.PositiveBigIntegerField(null=True)
    values = models.JSONField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        ordering = ("attempt_id", "start")
        constraints = [
            models.UniqueConstraint(fields=("attempt", "start"), name="telemetry_metric_once")
        ]

    def __str__(self) -> str:
        return f"step {self.step}"


class TrainerEvent(models.Model):
    """One line of the plugin's events.jsonl."""

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="trainer_events")
    start = models.PositiveBigIntegerField()
    end = models.PositiveBigIntegerField()
    name = models.CharField(max_length=30)
    values = models.JSONField()

    class Meta:
        ordering = ("attempt_id", "start")
        constraints = [
            models.UniqueConstraint(fields=("attempt", "start"), name="telemetry_event_once")
        ]

    def __str__(self) -> str:
        return self.name


class Sample(models.Model):
    """A node's readings at one moment: host, GPUs, jobs (contract.reports.Sample as plain data)."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="samples")
    at = models.DateTimeField()
    values = models.JSONField()

    class Meta:
        ordering = ("node_id", "at")
        indexes = [models.Index(fields=("node", "at"), name="telemetry_sample_order")]

    def __str__(self) -> str:
        return f"{self.node_id} {self.at}"
