"""What a node is told to run: the frozen argv, plus what only the devices decide.

When a job is submitted nobody knows yet whether it lands on GPUs or on CPU slots. So `Job.argv`
holds everything else, frozen; `launch_freeze` adds the device-dependent flags at the first dispatch
of an attempt and keeps the result on the job (`Job.launched`), so that a command that is sent again
is the same to the byte. A later attempt may land on other devices and gets its own. One that goes on
from a checkpoint (`Job.resumes`, `Job.weights`) runs the same argv with that checkpoint behind it.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import msgspec
from django.conf import settings
from django.db import transaction

from loraforge.datasets.models import Dataset
from loraforge.nodes.models import DeviceKind
from loraforge.training.hub import HubFetch, needs_network, needs_secrets
from loraforge.training.models import Job, JobDataset, NodeLost
from loraforge.training.modules import is_training
from loraforge.training.policy import argv_with, fence_s
from nodeagent.contract import paths

_PREFIX = {
    JobDataset.Use.TRAINING: "train",
    JobDataset.Use.VALIDATION: "val",
    JobDataset.Use.REWARD: "reward",
}


@dataclass(frozen=True, kw_only=True)
class LaunchInput:
    """An uploaded dataset and where the job sees it."""

    target: str
    dataset: Dataset
    sha256: str


class ResumeFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file of the checkpoint; path is relative to the folder of the attempt that left it."""

    path: str
    sha256: str
    size_bytes: int


class Resume(msgspec.Struct, frozen=True, kw_only=True):
    """The checkpoint that an attempt goes on from: who left it, where it lies there, what belongs to it.

    weights_only: its weights and step alone; optimizer and learning rate begin anew. job: the job whose
    attempt it was, 0 = the same one; of another one the step counts for nothing either. is_whole: a whole
    model, not LoRA weights. under: a folder below the inputs that it has for itself, beside others of its name.
    """

    attempt: int
    step: int
    path: str
    files: list[ResumeFile]
    weights_only: bool = False
    job: int = 0
    is_whole: bool = False
    under: str = ""

    @property
    def begins_at(self) -> int:
        """The step that the attempt has when it begins."""
        return 0 if self.job else self.step

    @property
    def folder(self) -> str:
        """Where the job sees it."""
        place = f"{paths.INPUTS}/{self.under}" if self.under else paths.INPUTS
        return f"{place}/{PurePosixPath(self.path).name}"

    def target(self, file: ResumeFile) -> str:
        """Where the job sees one of its files."""
        return f"{self.folder}/{file.path.removeprefix(f'{self.path}/')}"

    @property
    def flags(self) -> list[str]:
        """What stands behind the frozen argv."""
        only = ["--resume_only_model", "true"] if self.weights_only else []
        # SWIFT's way to a schedule of its own: no step, no skipped rows
        anew = ["--ignore_data_skip", "true"] if self.job else []
        return ["--resume_from_checkpoint", self.folder, *only, *anew]


class ExtraModel(msgspec.Struct, frozen=True, kw_only=True):
    """A model beside the base model, as it is frozen on the job.

    argument: SWIFT's name for it (reward_model, ref_model, teacher_model). named: as the draft has it. model,
    hub: where its weights are had, as of a job's base model. target: where the job sees them; "" = the base
    model's are the same, or the checkpoint is whole. checkpoint: another job's.
    """

    argument: str
    named: str
    model: str
    hub: str = ""
    model_type: str = ""
    target: str = ""
    checkpoint: Resume | None = None

    @property
    def place(self) -> str:
        """The folder of its weights, without LoRA's."""
        if self.checkpoint is not None and self.checkpoint.is_whole:
            return self.checkpoint.folder
        return self.target or paths.MODEL

    @property
    def adapter(self) -> str:
        """The folder of its LoRA weights; "" = it has none."""
        found = self.checkpoint
        return found.folder if found is not None and not found.is_whole else ""


def extra_models(rows: list[dict[str, Any]]) -> list[ExtraModel]:
    """Those of `Job.extra_models`."""
    return msgspec.convert(rows, list[ExtraModel])


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Everything of a start command that training decides.

    argv: what follows the Python executable. resume: the checkpoint whose files are inputs too.
    checkpoints: what else it gets of other jobs. mounts: place in the job -> a folder on the node; of models.
    save_every_s: seconds between timed checkpoints, 0 = none. fetches: of model hubs. network: the training
    itself speaks to others. secrets: name of an environment variable -> kind of the owner's secret.
    fence_after_s, fence_grace_s: as in the start command.
    """

    argv: list[str]
    env: dict[str, str]
    inputs: list[LaunchInput]
    resume: Resume | None
    checkpoints: list[Resume]
    mounts: dict[str, str]
    image: str
    processes: int
    save_every_s: int
    fetches: list[HubFetch]
    network: bool
    secrets: dict[str, str]
    fence_after_s: int
    fence_grace_s: int


def input_target(job_dataset: JobDataset) -> str:
    """Where a job sees an uploaded dataset, e.g. ``/lf/inputs/train-0-3f2a9c01b7d4.jsonl``.

    From the frozen hash, so that the same argv never means other rows.
    """
    use = JobDataset.Use(job_dataset.use)
    name = f"{_PREFIX[use]}-{job_dataset.position}-{job_dataset.sha256[:12]}"
    if use == JobDataset.Use.REWARD:  # SWIFT imports it by its name
        return f"{paths.INPUTS}/{name.replace('-', '_')}.py"
    return f"{paths.INPUTS}/{name}.jsonl"


def input_name(job_dataset: JobDataset) -> str:
    """The file's name below `paths.INPUTS`, as the compiler wants it."""
    return PurePosixPath(input_target(job_dataset)).name


def launch_argv(
    job: Job, *, device_kind: str, processes: int, resume: Resume | None = None
) -> list[str]:
    """The whole argument list for devices of this kind (``gpu`` or ``cpu``). Pure.

    On CPU slots SWIFT must be told (`--use_cpu`), and several processes need gloo: without it each
    trains for itself (seen with ms-swift 4.6.0). The node puts torch's launcher in front. What the system
    has adjusted since an attempt ran out of memory stands in for what was frozen.
    """
    argv = argv_with(job.argv, job.adjusted)
    if device_kind == DeviceKind.CPU:
        argv += ["--use_cpu", "true"] if is_training(job.command) else []
        if processes > 1:
            argv += ["--ddp_backend", "gloo"]
    # what does not train has its weights in the frozen argv
    return argv + (resume.flags if resume is not None and is_training(job.command) else [])


def resume_of(job: Job, *, attempt: int) -> Resume | None:
    """The checkpoint that this attempt goes on from; None = it begins at the beginning.

    The beginning of a job that trains on from another one's weights is those weights.
    """
    plain = job.resumes.get(str(attempt)) or job.weights
    return msgspec.convert(plain, Resume) if plain else None


@transaction.atomic
def resume_store(*, job: Job, attempt: int, resume: Resume | None) -> None:
    """Note what an attempt that has not been placed yet goes on from; None = from the beginning."""
    locked = Job.objects.select_for_update().get(pk=job.pk)
    kept = {number: one for number, one in locked.resumes.items() if number != str(attempt)}
    if resume is not None:
        kept[str(attempt)] = msgspec.to_builtins(resume)
    # Not save(): the job is another's to change; who resumed it, the audit row of that says.
    Job.objects.filter(pk=job.pk).update(resumes=kept)
    job.resumes = kept


@transaction.atomic
def launch_freeze(*, job: Job, attempt: int, device_kind: str) -> Launch:
    """The launch of an attempt: made at the first call, read back at every later one."""
    locked = Job.objects.select_for_update().select_related("instance").get(pk=job.pk)
    kept = locked.launched.get(str(attempt))
    if kept is None:
        processes = locked.instance.processes
        resume = resume_of(locked, attempt=attempt)
        argv = launch_argv(locked, device_kind=device_kind, processes=processes, resume=resume)
        kept = {
            "argv": argv,
            "device_kind": str(device_kind),
            "processes": processes,
            **_times(locked),
        }
        locked.launched = {**locked.launched, str(attempt): kept}
        # Not save(): an audit row per dispatch would say nothing about what a person did.
        Job.objects.filter(pk=job.pk).update(launched=locked.launched)
    job.launched = locked.launched
    models = extra_models(locked.extra_models)
    save_every_s = int(kept.get("save_every_s", settings.CHECKPOINT_EVERY_S))
    return Launch(
        argv=list(kept["argv"]),
        env={**locked.env, "CB_SAVE_EVERY_S": str(save_every_s)},
        inputs=_inputs(locked),
        resume=resume_of(locked, attempt=attempt),
        checkpoints=[one.checkpoint for one in models if one.checkpoint is not None],
        mounts=_mounts(locked, models),
        image=locked.image,
        processes=int(kept["processes"]),
        save_every_s=save_every_s,
        fetches=[HubFetch(**one) for one in locked.fetches],
        network=needs_network(locked.arguments),
        secrets=needs_secrets(locked.arguments, hub=locked.model_hub),
        fence_after_s=int(kept.get("fence_after_s", 0)),
        fence_grace_s=int(kept.get("fence_grace_s", 0)),
    )


def _times(job: Job) -> dict[str, int]:
    """What the job's options mean for this attempt, in seconds; an option changed later is the next one's."""
    save_s = settings.CHECKPOINT_EVERY_S if job.save_every_s is None else job.save_every_s
    may_be_replaced = job.on_node_lost == NodeLost.RESTART
    after_s, grace_s = fence_s(lost_s=settings.NODE_LOST_S) if may_be_replaced else (0, 0)
    return {"save_every_s": save_s, "fence_after_s": after_s, "fence_grace_s": grace_s}


def _mounts(job: Job, models: list[ExtraModel]) -> dict[str, str]:
    """Folders of the node that the job reads; a whole model of another job needs none."""
    found = {} if job.model_hub or works_on_whole(job) else {paths.MODEL: job.model}
    return found | {one.target: one.model for one in models if one.target and not one.hub}


def works_on_whole(job: Job) -> bool:
    """Whether another job's checkpoint stands in for the base model: what does not train takes it as it is."""
    return not is_training(job.command) and bool(job.weights.get("is_whole"))


def _inputs(job: Job) -> list[LaunchInput]:
    rows = job.job_datasets.exclude(dataset__kind=Dataset.Kind.REMOTE).select_related("dataset")
    return [
        LaunchInput(target=input_target(row), dataset=row.dataset, sha256=row.sha256)
        for row in rows.order_by("use", "position")
    ]
