"""Shapes of the job endpoints."""

from typing import Any

from django.core.validators import MaxLengthValidator
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from loraforge.billing.api.serializers import CostOutput
from loraforge.core.api import BoundedListField, WholeField
from loraforge.datasets.models import Dataset
from loraforge.instances.api.serializers import StageSerializer
from loraforge.instances.models import Attempt, InstanceEvent
from loraforge.instances.preparing import stages_of
from loraforge.instances.priorities import PriorityClass
from loraforge.instances.states import State
from loraforge.training.checks import (
    ARGUMENTS_MAX,
    ENVIRONMENT_MAX,
    HUBS,
    MODEL_MAX,
    NAME_MAX,
    NOTES_MAX,
    TAG_MAX,
    TAGS_MAX,
)
from loraforge.training.drafts import JobDraft
from loraforge.training.faults import Again, Owner
from loraforge.training.inputs import DATASETS_MAX, EXTRA_MODELS_MAX, REWARD_FILES_MAX
from loraforge.training.models import Command, JobDataset, NodeLost
from loraforge.training.options import MAX_RUN_S_MOST, SAVE_EVERY_S_MOST
from loraforge.training.placement import GPUS_MAX

ID_MAX = 2**63 - 1
COMMANDS = Command.choices
STATES = [(state.value, state.name) for state in State]
OWNERS = [(owner.value, owner.name) for owner in Owner]
AGAIN = [(again.value, again.name) for again in Again]


def _ids(help_text: str) -> BoundedListField:
    child = WholeField(min_value=1, max_value=ID_MAX)
    return BoundedListField(
        child=child, required=False, max_length=DATASETS_MAX, help_text=help_text
    )


def _model(what: str) -> serializers.CharField:
    return serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=MODEL_MAX,
        help_text=f"{what}: a hub id, a folder on a node, or <job>:<attempt>:<step>.",
    )


def _tags() -> BoundedListField:
    child = serializers.CharField(max_length=TAG_MAX)
    return BoundedListField(child=child, required=False, max_length=TAGS_MAX)


class JobOptionsInput(serializers.Serializer[Any]):
    """If something goes wrong. Each may be changed at any time."""

    oom_recovery = serializers.BooleanField(
        required=False,
        help_text="When the GPU runs out of memory: try once more with half the batch and twice the "
        "accumulation.",
    )
    on_node_lost = serializers.ChoiceField(
        choices=NodeLost.choices,
        required=False,
        help_text="When its node counts as lost: wait for it, or restart elsewhere from the last checkpoint. "
        "Holds from the next attempt on.",
    )
    max_run_s = WholeField(
        required=False,
        min_value=0,
        max_value=MAX_RUN_S_MOST,
        help_text="Longest run in seconds; then it is stopped and saved. 0 = as long as the role may.",
    )
    save_every_s = WholeField(
        required=False,
        allow_null=True,
        min_value=0,
        max_value=SAVE_EVERY_S_MOST,
        help_text="Seconds between checkpoints; null = the platform's setting, 0 = only by steps. Holds from "
        "the next attempt on.",
    )


class JobInput(JobOptionsInput):
    """A draft. Everything but the model and a dataset may be left out."""

    name = serializers.CharField(required=False, allow_blank=True, max_length=NAME_MAX)
    command = serializers.ChoiceField(choices=COMMANDS, default=Command.SFT.value)
    arguments = serializers.DictField(
        child=serializers.JSONField(allow_null=True),
        required=False,
        validators=[MaxLengthValidator(ARGUMENTS_MAX)],
        help_text="SWIFT's arguments by full name; `swift/catalogue/` lists them.",
    )
    model = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=MODEL_MAX,
        help_text="A hub id, or a folder on a node.",
    )
    model_hub = serializers.ChoiceField(
        choices=[hub for hub in HUBS if hub], required=False, allow_blank=True
    )
    model_type = serializers.CharField(required=False, allow_blank=True, max_length=80)
    template = serializers.CharField(required=False, allow_blank=True, max_length=80)
    datasets = _ids("Ids of the training sets.")
    validation_datasets = _ids("Ids of the validation sets.")
    gpus = WholeField(required=False, min_value=1, max_value=GPUS_MAX)
    gpu_uuids = BoundedListField(
        child=serializers.CharField(max_length=80), required=False, max_length=GPUS_MAX
    )
    node = serializers.CharField(required=False, allow_blank=True, max_length=40)
    processes = WholeField(
        required=False, min_value=1, max_value=GPUS_MAX, help_text="More than 1 = DDP."
    )
    priority = WholeField(required=False, min_value=-100, max_value=100)
    tags = _tags()
    notes = serializers.CharField(required=False, allow_blank=True, max_length=NOTES_MAX)
    weights_from = serializers.CharField(
        required=False,
        allow_blank=True,
        max_length=60,
        help_text="Begin with the weights of another job, with a schedule of its own: <job> (its newest "
        "checkpoint) or <job>:<attempt>:<step>. What does not train works on them.",
    )
    ref_model = _model("The reference model")
    teacher_model = _model("The teacher (GKD)")
    reward_models = BoundedListField(
        child=serializers.CharField(max_length=MODEL_MAX),
        required=False,
        max_length=EXTRA_MODELS_MAX,
        help_text="Reward models (PPO: one; GRPO: any number), each as ref_model.",
    )
    reward_files = BoundedListField(
        child=WholeField(min_value=1, max_value=ID_MAX),
        required=False,
        max_length=REWARD_FILES_MAX,
        help_text="Ids of uploaded Python files with reward functions (datasets of the kind code).",
    )
    environment = serializers.DictField(
        child=serializers.JSONField(allow_null=True),
        required=False,
        validators=[MaxLengthValidator(ENVIRONMENT_MAX)],
        help_text="Environment variables of the training; `swift/environment/` lists those that may be set.",
    )
    parent = WholeField(  # type: ignore[assignment]
        required=False,
        allow_null=True,
        min_value=1,
        max_value=ID_MAX,
        help_text="The job that it was made from.",
    )

    def draft(self) -> JobDraft:
        """The checked body as a draft."""
        data = {name: value for name, value in self.validated_data.items() if name != "start"}
        lists = (
            *("datasets", "validation_datasets", "gpu_uuids", "tags"),
            *("reward_models", "reward_files"),
        )
        data.update({name: tuple(data[name]) for name in lists if name in data})
        return JobDraft(**data)


class JobSubmitInput(JobInput):
    start = serializers.BooleanField(
        default=True, help_text="false: save without starting (state draft)."
    )


class JobPatchInput(JobOptionsInput):
    """What may change at any time."""

    name = serializers.CharField(required=False, max_length=NAME_MAX)
    tags = _tags()
    notes = serializers.CharField(required=False, allow_blank=True, max_length=NOTES_MAX)
    keep = serializers.BooleanField(required=False, help_text="Never removed by retention.")
    priority = WholeField(required=False, min_value=-100, max_value=100)


class JobRow(serializers.Serializer[Any]):
    """A job in a list. Documents `rows.job_rows`, which builds it."""

    id = serializers.IntegerField()
    name = serializers.CharField()
    command = serializers.ChoiceField(choices=COMMANDS)
    owner = serializers.CharField()
    model = serializers.CharField()
    state = serializers.ChoiceField(choices=STATES)
    state_label = serializers.CharField(help_text="The state in the reader's language.")
    progress = serializers.IntegerField(min_value=0, max_value=100)
    step = serializers.IntegerField()
    max_steps = serializers.IntegerField(help_text="0 while it is not known.")
    loss = serializers.FloatField(allow_null=True)
    eta_s = serializers.IntegerField(allow_null=True, help_text="Seconds left.")
    node = serializers.CharField(allow_null=True)
    attempt = serializers.IntegerField(help_text="0 = never placed.")
    gpus = serializers.IntegerField()
    priority = serializers.IntegerField()
    wait_reason = serializers.CharField(allow_blank=True)
    wait_text = serializers.CharField(allow_blank=True)
    queue_position = serializers.IntegerField(allow_null=True, help_text="1 = goes next.")
    expected_at = serializers.DateTimeField(
        allow_null=True,
        help_text="Estimated start by what is known of running jobs; null = unknown.",
    )
    priority_class = serializers.ChoiceField(choices=[one.value for one in PriorityClass])
    failure_reason = serializers.CharField(allow_blank=True)
    tags = serializers.ListField(child=serializers.CharField())
    created_at = serializers.DateTimeField()
    queued_at = serializers.DateTimeField(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    ended_at = serializers.DateTimeField(allow_null=True)


class JobDatasetOutput(serializers.ModelSerializer[JobDataset]):
    id = serializers.IntegerField(source="dataset_id")
    name = serializers.CharField(source="dataset.name")
    kind = serializers.ChoiceField(source="dataset.kind", choices=Dataset.Kind.choices)
    remote_id = serializers.CharField(source="dataset.remote_id")
    rows = serializers.IntegerField(source="dataset.rows")

    class Meta:
        model = JobDataset
        fields = ("id", "name", "kind", "remote_id", "rows", "use", "position", "sha256")
        read_only_fields = fields


class FailureOutput(serializers.Serializer[Any]):
    """What a reason means. Documents `rows.failure_plain`, which builds it."""

    reason = serializers.CharField()
    owner = serializers.ChoiceField(choices=OWNERS, help_text="Whose fault it is.")
    retry = serializers.ChoiceField(
        choices=AGAIN,
        help_text="What the same again is worth: no, asked (a person may), itself, elsewhere, not_there (the "
        "system does), smaller (only with a smaller batch).",
    )


class JobOutput(JobRow):
    """A job with everything that was frozen."""

    failure_detail = serializers.CharField(allow_blank=True)
    failure = FailureOutput(allow_null=True)
    retries = serializers.IntegerField(
        help_text="Attempts that the system made by itself since a person last queued it; at most 3."
    )
    oom_recovery = serializers.BooleanField()
    on_node_lost = serializers.ChoiceField(choices=NodeLost.choices)
    max_run_s = serializers.IntegerField(help_text="Asked for; 0 = as long as the role may.")
    run_limit_s = serializers.IntegerField(help_text="What holds, in seconds; 0 = without limit.")
    save_every_s = serializers.IntegerField(allow_null=True)
    adjusted = serializers.DictField(
        child=serializers.IntegerField(),
        help_text="Arguments that were made smaller after the GPU ran out of memory.",
    )
    exit_code = serializers.IntegerField(allow_null=True)
    saved_step = serializers.IntegerField(allow_null=True)
    processes = serializers.IntegerField()
    wanted_node = serializers.CharField(allow_null=True)
    gpu_uuids = serializers.ListField(child=serializers.CharField())
    notes = serializers.CharField(allow_blank=True)
    keep = serializers.BooleanField(help_text="Its files are never removed by retention.")
    log_left_out_lines = serializers.IntegerField(
        help_text="Lines of its log over the rate caps: only its file has them."
    )
    output_bytes = serializers.IntegerField(help_text="Size of its output files now.")
    files_removal_at = serializers.DateTimeField(
        allow_null=True, help_text="When its files are removed by themselves; null: not."
    )
    files_removed_at = serializers.DateTimeField(
        allow_null=True, help_text="When its files were removed; null: they were not."
    )
    # DRF's own attribute of that name is set when the field is bound, on the instance
    parent = serializers.IntegerField(allow_null=True)  # type: ignore[assignment]
    weights_from = serializers.CharField(
        allow_blank=True, help_text="<job>:<attempt>:<step> whose weights it begins with."
    )
    ref_model = serializers.CharField(allow_blank=True)
    teacher_model = serializers.CharField(allow_blank=True)
    reward_models = serializers.ListField(child=serializers.CharField())
    reward_files = serializers.ListField(
        child=serializers.IntegerField(), help_text="Ids; they are among datasets too."
    )
    arguments = serializers.DictField(child=serializers.JSONField())
    environment = serializers.DictField(child=serializers.CharField())
    model_hub = serializers.CharField(allow_blank=True)
    model_revision = serializers.CharField(allow_blank=True)
    model_type = serializers.CharField(allow_blank=True)
    template = serializers.CharField(allow_blank=True)
    seed = serializers.IntegerField()
    catalogue_version = serializers.CharField()
    image = serializers.CharField()
    argv = serializers.ListField(
        child=serializers.CharField(), help_text="After the Python executable, frozen."
    )
    datasets = JobDatasetOutput(many=True)
    cost = CostOutput(allow_null=True, help_text="null where nothing has a price.")
    allowed = serializers.ListField(
        child=serializers.CharField(), help_text="What the asker may do to it."
    )


class AttemptOutput(serializers.ModelSerializer[Attempt]):
    node = serializers.CharField(source="node.name")
    argv = serializers.SerializerMethodField()
    timeline = serializers.SerializerMethodField()

    class Meta:
        model = Attempt
        fields = (
            "number", "node", "devices", "phase", "exit_code", "killed_by", "outcome",
            "stop_requested", "stop_reason", "failure_reason", "failure_detail", "argv", "queued_at",
            "assigned_at", "preparing_at", "running_at", "imported_at", "first_step_at", "ended_at",
            "timeline",
        )  # fmt: skip
        read_only_fields = fields

    @extend_schema_field(StageSerializer(many=True))
    def get_timeline(self, attempt: Attempt) -> Any:
        """The way to the first training step: what took how long."""
        shown: Any = StageSerializer(instance=stages_of(attempt), many=True)  # type: ignore[arg-type]
        return shown.data

    def get_argv(self, attempt: Attempt) -> list[str]:
        """What was sent to the node; empty until it was."""
        launched: dict[str, Any] = self.context.get("launched", {})
        argv: list[str] = launched.get(str(attempt.number), {}).get("argv", [])
        return argv


class EventOutput(serializers.ModelSerializer[InstanceEvent]):
    actor = serializers.CharField(source="actor.username", default=None, allow_null=True)

    class Meta:
        model = InstanceEvent
        fields = ("id", "attempt", "source", "target", "reason", "detail", "actor", "at")
        read_only_fields = fields


class ResumeInput(serializers.Serializer[Any]):
    """All may be left out: then it goes on from the newest complete checkpoint."""

    checkpoint = serializers.CharField(
        required=False, max_length=40, allow_null=True, help_text="<attempt>:<step>"
    )
    weights_only = serializers.BooleanField(
        required=False,
        default=False,
        help_text="Take the weights only: optimizer and learning rate begin anew.",
    )


class CheckpointOutput(serializers.Serializer[Any]):
    """A checkpoint to resume from; newest first."""

    id = serializers.CharField(help_text="<attempt>:<step>, as `resume/` takes it.")
    attempt = serializers.IntegerField(source="checkpoint.attempt")
    step = serializers.IntegerField(source="checkpoint.step")
    path = serializers.CharField(source="checkpoint.path", help_text="The folder.")
    files = serializers.IntegerField(source="checkpoint.files")
    size_bytes = serializers.IntegerField(source="checkpoint.size_bytes")
    is_complete = serializers.BooleanField(source="checkpoint.is_complete")
    is_latest = serializers.BooleanField(source="checkpoint.is_latest")
    is_best = serializers.BooleanField(
        source="checkpoint.is_best", help_text="By the trainer's own metric."
    )
    missing = serializers.ListField(
        source="checkpoint.missing",
        child=serializers.CharField(),
        help_text="What a resume would not find.",
    )
    node = serializers.CharField(help_text="The node that it was saved on.")
    is_away = serializers.BooleanField(help_text="That node does not answer now.")
    can_resume = serializers.BooleanField()
    can_resume_weights = serializers.BooleanField()
    loss = serializers.FloatField(allow_null=True, help_text="Logged there or shortly before.")
    eval_loss = serializers.FloatField(allow_null=True)


class ShareInput(serializers.Serializer[Any]):
    user = serializers.CharField(max_length=150, help_text="A user name.")


class ShareOutput(serializers.Serializer[Any]):
    user = serializers.CharField(source="username")
