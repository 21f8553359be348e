from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.instances.models import Attempt


class OutputFile(models.Model):
    """A file that an attempt left on its node, as the manifest says.

    path is relative to the job's directory. is_cut: a checkpoint's file that ends in the middle.
    """

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="output_files")
    path = models.CharField(max_length=1000)
    size_bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    modified_at = models.DateTimeField(db_default=Now())
    is_cut = models.BooleanField(db_default=False, default=False)
    removed_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("output file")
        verbose_name_plural = _("output files")
        ordering = ("attempt_id", "path")
        constraints = [
            models.UniqueConstraint(fields=("attempt", "path"), name="artifacts_output_file_once")
        ]

    def __str__(self) -> str:
        return self.path


class BestCheckpoint(models.Model):
    """Which checkpoint of an attempt its trainer holds for the best, read from trainer_state.json."""

    attempt = models.OneToOneField(
        Attempt, on_delete=models.CASCADE, primary_key=True, related_name="best_checkpoint"
    )
    step = models.PositiveBigIntegerField()
    metric = models.FloatField(null=True, blank=True)

    def __str__(self) -> str:
        return f"checkpoint-{self.step}"
