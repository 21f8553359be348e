from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.instances.models import Attempt, Instance


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


class ResultCopy(models.Model):
    """A file of a job's result on its way to the control plane's storage, or there.

    offset_bytes: how much of it has come, durably. tries: how often its bytes were not those of the
    manifest. is_wanted: False once a later attempt left a better one; it goes when that is kept.
    """

    class State(models.TextChoices):
        WAITING = "waiting", _("Not saved yet")
        KEPT = "kept", _("Saved")
        TOO_LARGE = "too_large", _("Too large to be saved")
        FAILED = "failed", _("Could not be saved")
        REMOVING = "removing", _("Being removed")

    file = models.OneToOneField(
        OutputFile, on_delete=models.CASCADE, primary_key=True, related_name="copy"
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.WAITING)
    place = models.PositiveIntegerField(default=0)  # its place in the order of copying
    is_wanted = models.BooleanField(default=True)
    storage_name = models.CharField(max_length=200, blank=True)
    offset_bytes = models.BigIntegerField(default=0)
    tries = models.PositiveSmallIntegerField(default=0)
    kept_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("saved result")
        verbose_name_plural = _("saved results")
        ordering = ("place", "file_id")
        indexes = [models.Index(fields=("state",), name="artifacts_copy_state")]

    def __str__(self) -> str:
        return f"{self.file_id} {self.state}"


class ResultSaving(models.Model):
    """The saving of an ended instance's results, in steps that any control worker may take.

    wanted_at: when it was last asked for. planned_at: the wish for which it was decided what to save.
    next_at: not before. trouble: why it waits. The lock says
    that a worker is at a step; it runs out when that worker dies.
    """

    class Trouble(models.TextChoices):
        NODE_AWAY = "node_away", _("The node does not answer; it goes on when it is back.")
        DISK_FULL = "disk_full", _("The platform's disk is nearly full; ask an operator.")
        STORAGE = "storage", _("The platform's storage does not take it; ask an operator.")

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="saving"
    )
    wanted_at = models.DateTimeField()
    planned_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    next_at = models.DateTimeField()
    trouble = models.CharField(max_length=10, blank=True, choices=Trouble.choices)
    waits = models.PositiveSmallIntegerField(default=0)
    locked_until = models.DateTimeField(null=True, blank=True)
    lock_token = models.CharField(max_length=32, blank=True)

    class Meta:
        verbose_name = _("saving of results")
        verbose_name_plural = _("savings of results")
        indexes = [
            models.Index(
                fields=("next_at",), condition=models.Q(done_at=None), name="artifacts_saving_due"
            )
        ]

    def __str__(self) -> str:
        return f"#{self.instance_id}"

    @property
    def is_planned(self) -> bool:
        """What is to be saved was decided since it was last asked for."""
        return self.planned_at is not None and self.planned_at >= self.wanted_at
