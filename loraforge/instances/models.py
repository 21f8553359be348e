from collections.abc import Mapping
from functools import cache

from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import get_language, gettext
from django.utils.translation import gettext_lazy as _

from loraforge.instances.states import State
from loraforge.nodes.models import Node


class Kind(models.TextChoices):
    """What an instance is for; later kinds: workspace, inference service."""

    JOB = "job", _("Job")


STATE_LABELS = {
    State.DRAFT: _("Not started"),
    State.QUEUED: _("Queued"),
    State.ASSIGNED: _("Assigned"),
    State.PREPARING: _("Preparing"),
    State.RUNNING: _("Running"),
    State.FINISHING: _("Finishing"),
    State.SUCCEEDED: _("Succeeded"),
    State.STOPPING: _("Stopping"),
    State.STOPPED: _("Stopped"),
    State.FAILED: _("Failed"),
    State.UNKNOWN: _("Node unreachable"),
    State.LOST: _("Lost"),
}


def state_labels() -> Mapping[str, str]:
    """Every state in the language of the request; for a list, which would ask for each row."""
    return _labels_in(get_language())


@cache
def _labels_in(_language: str | None) -> Mapping[str, str]:
    return {state.value: str(label) for state, label in STATE_LABELS.items()}


def progress_of(state: str, *, step: int, max_steps: int) -> int:
    """Whole percent, 0 to 100; 100 only when it succeeded or did its last step."""
    if state == State.SUCCEEDED:
        return 100
    return min(100, step * 100 // max_steps) if max_steps else 0


class Instance(models.Model):
    """Whatever occupies a node. Its id is its short number (#41). Only `transitions` changes `state`."""

    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="instances"
    )
    kind = models.CharField(max_length=12, choices=Kind.choices, default=Kind.JOB)
    name = models.CharField(_("name"), max_length=120)
    state = models.CharField(
        _("state"),
        max_length=12,
        default=State.DRAFT,
        choices=[(state.value, label) for state, label in STATE_LABELS.items()],
    )
    attempt = models.PositiveIntegerField(
        default=0
    )  # number of the current or last attempt; 0 = never placed
    priority = models.SmallIntegerField(
        _("priority"), default=0
    )  # of a class, see `priorities`; only operators raise it
    queue_rank = models.SmallIntegerField(
        default=0
    )  # lower goes first among the owner's own that wait; 0 = by age, behind those that were put in order

    # What it asks for. GPU UUIDs imply the node.
    gpus = models.PositiveSmallIntegerField(
        default=1
    )  # devices wanted: GPUs, or CPU slots where there are none
    processes = models.PositiveSmallIntegerField(default=1)
    wanted_node = models.ForeignKey(
        Node, on_delete=models.SET_NULL, null=True, blank=True, related_name="wanted_by"
    )
    wanted_devices = models.JSONField(default=list, blank=True)

    # Where it is, and how it goes.
    node = models.ForeignKey(
        Node, on_delete=models.PROTECT, null=True, blank=True, related_name="instances"
    )
    wait_reason = models.CharField(
        max_length=40, blank=True
    )  # `app:reason`; scheduling.reasons has the texts
    wait_detail = models.JSONField(default=dict, blank=True)
    failure_reason = models.CharField(max_length=60, blank=True)  # `area:what`
    failure_detail = models.TextField(blank=True)  # the raw line
    exit_code = models.IntegerField(null=True, blank=True)
    retries = models.PositiveSmallIntegerField(
        default=0
    )  # attempts that the system made by itself since a person last queued it
    # id of a node that failed it meanwhile -> true: only if no other could take it; false: if none is free
    avoided_nodes = models.JSONField(default=dict, blank=True)
    saved_step = models.PositiveBigIntegerField(
        null=True, blank=True
    )  # stopped: the step that was saved
    step = models.PositiveBigIntegerField(default=0)
    max_steps = models.PositiveBigIntegerField(default=0)
    loss = models.FloatField(null=True, blank=True)
    eta_s = models.PositiveBigIntegerField(null=True, blank=True)

    tags = models.JSONField(default=list, blank=True)
    notes = models.TextField(_("notes"), blank=True)
    keep = models.BooleanField(_("keep"), default=False)  # never removed by retention

    created_at = models.DateTimeField(db_default=Now())
    queued_at = models.DateTimeField(null=True, blank=True)
    started_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        verbose_name = _("instance")
        verbose_name_plural = _("instances")
        ordering = ("-id",)
        permissions = [("download_instance", "Can download the instance's files")]
        indexes = [
            models.Index(fields=("owner", "-id"), name="instances_owner_newest"),
            models.Index(fields=("state", "-priority", "queued_at"), name="instances_queue"),
            # The list of jobs: counted and paged without touching a row.
            models.Index(
                fields=("kind", "-id", "owner"),
                condition=models.Q(deleted_at=None),
                name="instances_listed",
            ),
            models.Index(fields=("node", "state"), name="instances_on_node"),
        ]
        constraints = [
            models.CheckConstraint(
                condition=models.Q(gpus__gte=1), name="instances_gpus_at_least_one"
            ),
            models.CheckConstraint(
                condition=models.Q(state__in=[state.value for state in State]),
                name="instances_state_known",
            ),
        ]

    def __str__(self) -> str:
        return f"#{self.pk} {self.name}"

    @property
    def progress(self) -> int:
        """Whole percent, 0 to 100; see `progress_of`."""
        return progress_of(self.state, step=self.step, max_steps=self.max_steps)


class Attempt(models.Model):
    """One start of an instance on one node; retry, resume and migration make the next."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="attempts")
    number = models.PositiveIntegerField()
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="attempts")
    devices = models.JSONField(default=list)
    spec_hash = models.CharField(max_length=64, blank=True)
    phase = models.CharField(max_length=12, blank=True)  # the node's last word (contract.phases)
    phase_seq = models.PositiveBigIntegerField(default=0)  # journal position of that word
    exit_code = models.IntegerField(null=True, blank=True)
    killed_by = models.PositiveSmallIntegerField(null=True, blank=True)
    outcome = models.CharField(max_length=12, blank=True)
    pid = models.PositiveIntegerField(null=True, blank=True)
    stop_requested = models.CharField(max_length=6, blank=True)  # "", "save" or "now"
    stop_reason = models.CharField(
        max_length=60, blank=True
    )  # why the platform asked; "" = a person
    failure_reason = models.CharField(max_length=60, blank=True)  # `area:what`
    failure_detail = models.TextField(blank=True)  # the raw line
    fenced_after_s = models.PositiveIntegerField(
        default=0
    )  # its node has said: when it is cut off for so long, nothing of it runs any more; 0 = never said
    queued_at = models.DateTimeField(null=True, blank=True)
    assigned_at = models.DateTimeField(db_default=Now())
    preparing_at = models.DateTimeField(null=True, blank=True)
    running_at = models.DateTimeField(null=True, blank=True)
    imported_at = models.DateTimeField(null=True, blank=True)  # the trainer has loaded everything
    first_step_at = models.DateTimeField(null=True, blank=True)
    ended_at = models.DateTimeField(null=True, blank=True)
    # contract StepName -> {"began", "ended", "done_bytes", "total_bytes", "detail"}; see `preparing`
    steps = models.JSONField(default=dict, blank=True)

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        ordering = ("instance_id", "number")
        constraints = [
            models.UniqueConstraint(fields=("instance", "number"), name="instances_attempt_once")
        ]

    def __str__(self) -> str:
        return gettext("#%(number)s, attempt %(n)s") % {
            "number": self.instance_id,
            "n": self.number,
        }


class DeviceLease(models.Model):
    """A device belongs to an attempt until it is released. The constraint makes double booking impossible."""

    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="leases")
    device_uuid = models.CharField(max_length=80)
    attempt = models.ForeignKey(Attempt, on_delete=models.CASCADE, related_name="leases")
    leased_at = models.DateTimeField(db_default=Now())
    released_at = models.DateTimeField(null=True, blank=True)
    # Kept over the attempt's end, and maybe on another node than the attempt's: a migration's, which
    # alone lets it go (`moving`).
    is_held = models.BooleanField(db_default=False, default=False)

    class Meta:
        verbose_name = _("device lease")
        verbose_name_plural = _("device leases")
        constraints = [
            models.UniqueConstraint(
                fields=("node", "device_uuid"),
                condition=models.Q(released_at__isnull=True),
                name="instances_lease_exclusive",
            )
        ]

    def __str__(self) -> str:
        return self.device_uuid


class InstanceEvent(models.Model):
    """One change of state, or something else worth telling; written with the change, never changed."""

    instance = models.ForeignKey(Instance, on_delete=models.CASCADE, related_name="events")
    attempt = models.PositiveIntegerField(default=0)
    source = models.CharField(max_length=12, blank=True)
    target = models.CharField(max_length=12, blank=True)
    reason = models.CharField(max_length=60, blank=True)
    detail = models.TextField(blank=True)
    actor = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+"
    )
    at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("event")
        verbose_name_plural = _("events")
        ordering = ("id",)
        indexes = [models.Index(fields=("instance", "id"), name="instances_event_order")]

    def __str__(self) -> str:
        return f"{self.source} -> {self.target}"


auditlog.register(
    Instance,
    include_fields=[
        "owner",
        "kind",
        "name",
        "state",
        "priority",
        "gpus",
        "processes",
        "wanted_node",
        "wanted_devices",
        "node",
        "failure_reason",
        "tags",
        "notes",
        "keep",
        "deleted_at",
    ],
)
