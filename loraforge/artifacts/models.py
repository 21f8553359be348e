from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.artifacts.retention import Place
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


class Removal(models.Model):
    """The files of one attempt in one place are gone for everybody: once, by the constraint.

    asked_at: the node was told to delete them (again after a while, until done_at). tries: how often it
    refused. size_bytes: what the manifest said they had.
    """

    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="removals")
    place = models.CharField(
        max_length=8,
        choices=[(place.value, place.value) for place in Place],
        default=Place.NODE.value,
    )
    size_bytes = models.BigIntegerField(default=0)
    begun_at = models.DateTimeField()
    asked_at = models.DateTimeField(null=True, blank=True)
    done_at = models.DateTimeField(null=True, blank=True)
    tries = models.PositiveIntegerField(default=0)

    class Meta:
        verbose_name = _("removal of files")
        verbose_name_plural = _("removals of files")
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(fields=("attempt", "place"), name="artifacts_removal_once")
        ]
        indexes = [
            models.Index(
                fields=("asked_at",),
                condition=models.Q(done_at=None),
                name="artifacts_removal_open",
            )
        ]

    def __str__(self) -> str:
        return f"{self.attempt_id} {self.place}"


class RemovalNotice(models.Model):
    """The owner was told that the files go, a day ahead; one for each end that an instance had."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="removal_notices")
    ended_at = models.DateTimeField()
    told_at = models.DateTimeField()

    class Meta:
        verbose_name = _("notice of a removal")
        verbose_name_plural = _("notices of removals")
        constraints = [
            models.UniqueConstraint(fields=("instance", "ended_at"), name="artifacts_notice_once")
        ]

    def __str__(self) -> str:
        return f"#{self.instance_id}"


class FileLease(models.Model):
    """Somebody is handed files of an instance: nothing of them is deleted until it has expired."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="file_leases")
    holder = models.CharField(max_length=60)  # download:<user>, resume, ...
    expires_at = models.DateTimeField()

    class Meta:
        verbose_name = _("lease of files")
        verbose_name_plural = _("leases of files")
        constraints = [
            models.UniqueConstraint(fields=("instance", "holder"), name="artifacts_lease_once")
        ]
        indexes = [models.Index(fields=("expires_at",), name="artifacts_lease_expiry")]

    def __str__(self) -> str:
        return f"#{self.instance_id} {self.holder}"
