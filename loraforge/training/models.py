from auditlog.registry import auditlog
from django.conf import settings
from django.db import models
from django.utils.translation import gettext_lazy as _

from loraforge.datasets.models import Dataset
from loraforge.instances.models import Instance


class Command(models.TextChoices):
    """SWIFT commands that a job may be (job type on the screen).

    GRPO is a type of its own on the screen and `rlhf` with `--rlhf_type grpo` to SWIFT. DEPLOY is judged
    and compiled, not started: see `modules.STARTED`.
    """

    PT = "pt", _("Pre-training")
    SFT = "sft", _("Fine-tuning")
    RLHF = "rlhf", _("Alignment")
    INFER = "infer", _("Batch inference")
    EXPORT = "export", _("Export")
    EVAL = "eval", _("Evaluation")
    SAMPLE = "sample", _("Sampling")
    DEPLOY = "deploy", _("Inference service")


class NodeLost(models.TextChoices):
    """What becomes of a running job whose node counts as lost."""

    WAIT = "wait", _("Wait for the node")
    RESTART = "restart", _("Restart on another node")


class Job(models.Model):
    """SWIFT work. What decides the run is frozen here at submit: later changes elsewhere change nothing."""

    instance = models.OneToOneField(
        Instance, on_delete=models.CASCADE, primary_key=True, related_name="job"
    )
    command = models.CharField(_("job type"), max_length=12, choices=Command.choices)
    arguments = models.JSONField(default=dict)  # as the user set them, checked; only changed ones
    model = models.CharField(_("base model"), max_length=500)  # hub id, or a path on the node
    model_hub = models.CharField(
        max_length=12, blank=True
    )  # "modelscope", "huggingface", "" = path
    model_revision = models.CharField(max_length=80, blank=True)
    model_type = models.CharField(max_length=80, blank=True)
    template = models.CharField(_("chat template"), max_length=80, blank=True)
    seed = models.BigIntegerField(default=42)
    argv = models.JSONField(default=list)  # frozen at submit; what follows the Python executable
    env = models.JSONField(default=dict)
    # variables that its owner asked for, checked; in env as well
    environment = models.JSONField(_("environment variables"), default=dict, blank=True)
    fetches = models.JSONField(
        default=list
    )  # frozen too: what its node has of model hubs; see `hub`
    # attempt number -> {"argv", "device_kind", "processes"} as sent to its node; see `launch`
    launched = models.JSONField(default=dict)
    # number of the attempt that is to go on from a checkpoint -> `launch.Resume` as plain data
    resumes = models.JSONField(default=dict)
    # the checkpoint of another job whose weights it begins with: a `launch.Resume` as plain data; {} = none
    weights = models.JSONField(default=dict, blank=True)
    # frozen: the models beside the base model (reward, reference, teacher); see `extramodels`
    extra_models = models.JSONField(default=list, blank=True)
    catalogue_version = models.CharField(max_length=20, blank=True)
    image = models.CharField(max_length=300, blank=True)
    # If something goes wrong; each takes effect at the next attempt, the run time at once.
    oom_recovery = models.BooleanField(
        _("smaller batch when the GPU runs out of memory"), default=False
    )
    on_node_lost = models.CharField(
        _("if the node is lost"), max_length=8, choices=NodeLost.choices, default=NodeLost.WAIT
    )
    max_run_s = models.PositiveIntegerField(
        _("longest run time"), default=0
    )  # asked for, seconds; 0 = as long as the owner's role may
    run_limit_s = models.PositiveIntegerField(default=0)  # what holds, set at submit; 0 = none
    save_every_s = models.PositiveIntegerField(
        _("save a checkpoint every"), null=True, blank=True
    )  # by the clock, seconds; None = the platform's setting, 0 = never
    # SWIFT argument -> whole number that stands in for argv's since the GPU ran out of memory
    adjusted = models.JSONField(default=dict, blank=True)
    parent = models.ForeignKey(
        "self", on_delete=models.SET_NULL, null=True, blank=True, related_name="children"
    )

    class Meta:
        verbose_name = _("job")
        verbose_name_plural = _("jobs")

    def __str__(self) -> str:
        return str(self.instance)


class JobDataset(models.Model):
    """A dataset of a job, with the hash that was frozen at submit."""

    class Use(models.TextChoices):
        TRAINING = "training", _("Training set")
        VALIDATION = "validation", _("Validation set")
        REWARD = "reward", _("Reward function")

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="job_datasets")
    dataset = models.ForeignKey(Dataset, on_delete=models.PROTECT, related_name="job_datasets")
    use = models.CharField(max_length=10, choices=Use.choices, default=Use.TRAINING)
    position = models.PositiveSmallIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)

    class Meta:
        verbose_name = _("dataset of the job")
        verbose_name_plural = _("datasets of the job")
        ordering = ("position",)
        constraints = [
            models.UniqueConstraint(
                fields=("job", "use", "position"), name="training_job_dataset_place"
            )
        ]

    def __str__(self) -> str:
        return str(self.dataset)


class IdempotencyKey(models.Model):
    """The answer to a POST with this key is this job, however often it is sent."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    key = models.CharField(max_length=200)
    request_hash = models.CharField(max_length=64)
    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="+")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("owner", "key"), name="training_idempotency_key_once")
        ]

    def __str__(self) -> str:
        return self.key


auditlog.register(
    Job,
    include_fields=[
        "command",
        "arguments",
        "environment",
        "model",
        "model_hub",
        "model_type",
        "template",
        "seed",
        "parent",
        *("oom_recovery", "on_node_lost", "max_run_s", "save_every_s", "adjusted"),
    ],
)
