import hashlib

from auditlog.registry import auditlog
from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy


class NodeState(models.TextChoices):
    """Whether the node is heard; design.md section 5 gives the times."""

    NEW = "new", _("Not joined yet")
    ONLINE = "online", _("Online")
    SUSPECT = "suspect", _("Heartbeat late")
    OFFLINE = "offline", _("Offline")
    LOST = "lost", pgettext_lazy("state of a node", "Lost")
    MAINTENANCE = "maintenance", _("In maintenance")


class DiskLevel(models.TextChoices):
    """How much room a node's disk has; `health.disk_level` gives the limits."""

    FINE = "fine", _("Enough room")
    WARNING = "warning", _("Disk filling up")
    LOW = "low", _("Disk nearly full")


class GpuMode(models.TextChoices):
    """How jobs of a node get their GPUs; detected by its agent at joining."""

    NVIDIA = "nvidia", _("NVIDIA container runtime")
    CDI = "cdi", _("CDI (Container Device Interface)")
    RAW = "raw", _("Device nodes and driver libraries")
    PLAIN = "plain", _("Environment variable (plain process)")


class Node(models.Model):
    """A machine that runs jobs. Its name is part of queue and stream names, so it never changes."""

    name = models.SlugField(_("name"), max_length=40, unique=True)
    state = models.CharField(
        _("state"), max_length=12, choices=NodeState.choices, default=NodeState.NEW
    )
    cordoned = models.BooleanField(_("cordoned"), default=False)
    token_digest = models.CharField(max_length=64)
    boot_id = models.CharField(max_length=64, blank=True)
    # Of the folder of the agent that joined last; another agent under this name is told to end.
    agent_id = models.CharField(max_length=64, blank=True)
    # Trainings that run there without its agent knowing them. Never ended by the platform.
    unknown = models.JSONField(default=list, blank=True)
    # Lines of logs that its agent has left out by the rate caps since it began.
    dropped_lines = models.BigIntegerField(default=0)
    agent_version = models.CharField(max_length=20, blank=True)
    runtime = models.CharField(_("runtime"), max_length=12, blank=True)
    hostname = models.CharField(max_length=200, blank=True)
    file_url = models.CharField(max_length=200, blank=True)
    swift_version = models.CharField(max_length=20, blank=True)
    driver_version = models.CharField(max_length=40, blank=True)
    gpu_mode = models.CharField(
        max_length=12, choices=GpuMode.choices, blank=True
    )  # empty: it has no GPUs, or its agent does not tell
    cpu_count = models.PositiveIntegerField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    disk_total_bytes = models.BigIntegerField(default=0)
    disk_free_bytes = models.BigIntegerField(default=0)
    disk_level = models.CharField(
        max_length=8, choices=DiskLevel.choices, default=DiskLevel.FINE
    )  # LOW takes no new jobs
    model_roots = models.JSONField(default=list, blank=True)
    # Models of hubs that lie in its cache for any job: `<hub>:<org/name>@<revision>`.
    cached_models = models.JSONField(default=list, blank=True)
    joined_at = models.DateTimeField(null=True, blank=True)
    seen_at = models.DateTimeField(_("last heartbeat"), null=True, blank=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("node")
        verbose_name_plural = _("nodes")
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    @staticmethod
    def digest_of(token: str) -> str:
        """SHA-256 in hex; tokens have 256 bits of their own."""
        return hashlib.sha256(token.encode()).hexdigest()

    @property
    def is_process_runtime(self) -> bool:
        """True when jobs run as plain processes: no boundary between them and the machine; pages say so."""
        return self.runtime == "process"


class DeviceKind(models.TextChoices):
    GPU = "gpu", _("GPU")
    CPU = "cpu", _("CPU slot")


class Device(models.Model):
    """What a job occupies: a GPU by its UUID, or one CPU slot (``cpu-0``) of a node without GPUs."""

    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="devices")
    uuid = models.CharField(max_length=80)
    kind = models.CharField(max_length=4, choices=DeviceKind.choices)
    index = models.PositiveSmallIntegerField(default=0)
    name = models.CharField(max_length=100, blank=True)
    memory_bytes = models.BigIntegerField(default=0)
    present = models.BooleanField(default=True)  # False: it was there at an earlier join
    # What its node says of it now: {"kind", "detail", "blocks"}, see `contract.gpus`
    marks = models.JSONField(default=list, blank=True)
    blocked = models.BooleanField(default=False)  # a mark keeps it from jobs
    cuda_check = models.JSONField(default=dict, blank=True)  # see `gpus.check_plain`

    class Meta:
        verbose_name = _("device")
        verbose_name_plural = _("devices")
        ordering = ("node_id", "index")
        constraints = [models.UniqueConstraint(fields=("node", "uuid"), name="nodes_device_once")]

    def __str__(self) -> str:
        return f"{self.name or self.uuid}"

    @property
    def numbered(self) -> str:
        """Kind and number, for where its node is named beside it."""
        return f"{self.get_kind_display()} {self.index}"

    @property
    def label(self) -> str:
        """Its name for people; a CPU slot's in the reader's language, since it was named when its node joined."""
        if self.kind == DeviceKind.CPU:
            return str(_("CPU slot %(n)d") % {"n": self.index})
        return self.name or str(self.get_kind_display())


auditlog.register(
    Node,
    exclude_fields=[
        "token_digest",
        "seen_at",
        "disk_free_bytes",
        "disk_level",
        "boot_id",
        "agent_id",
        "unknown",
        "dropped_lines",
        "state",
        "file_url",
        "joined_at",
    ],
)
