from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from loraforge.instances.models import Instance
from loraforge.migration.states import DrainMode, Ending, Step, number_of
from loraforge.nodes.models import Node

STEP_LABELS = {
    Step.FREEZE: _("Saving a checkpoint"),
    Step.COPY: _("Copying it to the other node"),
    Step.VERIFY: _("Checking the copy"),
    Step.RESERVE: _("Reserving devices"),
    Step.STOP: _("Stopping on the old node"),
    Step.SWITCH: _("Handing over"),
    Step.START: _("Starting on the new node"),
    Step.RELEASE: _("Clearing up the old node"),
}
ENDING_LABELS = {
    Ending.ACTIVE: _("Migrating"),
    Ending.DONE: _("Migrated"),
    Ending.FAILED: _("Migration failed"),
    Ending.CANCELLED: _("Migration cancelled"),
}


class Drain(models.Model):
    """A node is emptied: its jobs move or end, then it is in maintenance. One open one a node."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="drains")
    mode = models.CharField(
        max_length=8,
        choices=[
            (DrainMode.MIGRATE.value, _("Move the jobs to other nodes")),
            (DrainMode.WAIT.value, _("Wait until the jobs have ended")),
        ],
    )
    deadline_at = models.DateTimeField(null=True, blank=True)  # then what still runs is stopped
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)
    is_done = models.BooleanField(default=False)  # ended in maintenance; else a person broke it off

    class Meta:
        verbose_name = _("drain")
        verbose_name_plural = _("drains")
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("node",),
                condition=models.Q(ended_at__isnull=True),
                name="migration_one_drain",
            )
        ]

    def __str__(self) -> str:
        return f"{self.node_id} {self.mode}"


class Migration(models.Model):
    """One move of a running training, step by step; each step's effects are one transaction.

    checkpoint: what the target was told to have. staged_*: what it says of that. errors are `area:what`.
    """

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="migrations")
    state = models.CharField(
        max_length=10,
        default=Ending.ACTIVE,
        choices=[(ending.value, label) for ending, label in ENDING_LABELS.items()],
    )
    step = models.CharField(
        max_length=8,
        default=Step.FREEZE,
        choices=[(step.value, label) for step, label in STEP_LABELS.items()],
    )
    step_at = models.DateTimeField()
    source = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="migrations_from")
    source_attempt = models.PositiveIntegerField()
    source_devices = models.JSONField(default=list)
    target = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="migrations_to")
    is_best = models.BooleanField(default=False)  # the platform chose the target
    target_attempt = models.PositiveIntegerField(null=True, blank=True)
    target_devices = models.JSONField(default=list, blank=True)
    from_step = models.PositiveBigIntegerField(default=0)  # the training's, when it was asked for
    checkpoint_attempt = models.PositiveIntegerField(null=True, blank=True)
    checkpoint_step = models.PositiveBigIntegerField(null=True, blank=True)
    total_bytes = models.BigIntegerField(default=0)
    copied_bytes = models.BigIntegerField(default=0)
    digest = models.CharField(max_length=64, blank=True)  # what the target must have
    staged_digest = models.CharField(max_length=64, blank=True)
    staged_error = models.CharField(max_length=60, blank=True)
    staged_detail = models.TextField(blank=True)
    staged_at = models.DateTimeField(null=True, blank=True)  # it last came further
    asked_at = models.DateTimeField(null=True, blank=True)  # a command was last sent
    error = models.CharField(max_length=60, blank=True)
    error_detail = models.TextField(blank=True)
    drain = models.ForeignKey(
        Drain, on_delete=models.SET_NULL, null=True, blank=True, related_name="migrations"
    )
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("migration")
        verbose_name_plural = _("migrations")
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("instance",),
                condition=models.Q(state=Ending.ACTIVE.value),
                name="migration_one_active",
            )
        ]

    def __str__(self) -> str:
        return f"#{self.instance_id} {self.step}"

    @property
    def number(self) -> int:
        """Of its step, 1 to 8."""
        return number_of(self.step)

    @property
    def staged_id(self) -> str:
        """Id of the command that has the target fetch the checkpoint; another one for another checkpoint."""
        return f"stage-m{self.pk}-{self.checkpoint_attempt}-{self.checkpoint_step}"

    @property
    def is_staged(self) -> bool:
        """The target has every byte, and has read it back."""
        return bool(self.digest) and self.staged_digest == self.digest


class Prefetch(models.Model):
    """A node is told to have a model of a hub in its cache; jobs that want it start there sooner."""

    class State(models.TextChoices):
        ACTIVE = "active", _("Being fetched")
        DONE = "done", _("In the cache")
        FAILED = "failed", _("Could not be fetched")

    class Hub(models.TextChoices):
        HUGGINGFACE = "huggingface", "Hugging Face"
        MODELSCOPE = "modelscope", "ModelScope"

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="prefetches")
    hub = models.CharField(max_length=12, choices=Hub.choices)
    repo = models.CharField(max_length=200)
    revision = models.CharField(max_length=128, blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.ACTIVE)
    done_bytes = models.BigIntegerField(default=0)
    total_bytes = models.BigIntegerField(default=0)
    error = models.CharField(max_length=60, blank=True)
    detail = models.TextField(blank=True)
    asked_at = models.DateTimeField(null=True, blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("prefetch")
        verbose_name_plural = _("prefetches")
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=("node", "hub", "repo", "revision"),
                condition=models.Q(state="active"),
                name="migration_one_prefetch",
            )
        ]

    def __str__(self) -> str:
        return f"{self.hub}:{self.repo}"

    @property
    def stage_id(self) -> str:
        """Id of the command."""
        return f"stage-p{self.pk}"


auditlog.register(Prefetch, include_fields=["node", "hub", "repo", "revision", "state", "error"])
auditlog.register(Drain, include_fields=["node", "mode", "deadline_at", "is_done"])
auditlog.register(
    Migration, include_fields=["instance", "state", "source", "target", "target_attempt", "error"]
)
