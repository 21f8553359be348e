"""What a node is told to run: the frozen argv, plus what only the devices decide.

When a job is submitted nobody knows yet whether it lands on GPUs or on CPU slots. So `Job.argv`
holds everything else, frozen; `launch_freeze` adds the device-dependent flags at the first dispatch
of an attempt and keeps the result on the job (`Job.launched`), so that a command that is sent again
is the same to the byte. A later attempt may land on other devices and gets its own.
"""

from dataclasses import dataclass
from pathlib import PurePosixPath

from django.conf import settings
from django.db import transaction

from loraforge.datasets.models import Dataset
from loraforge.nodes.models import DeviceKind
from loraforge.training.models import Job, JobDataset
from nodeagent.contract import paths

_PREFIX = {JobDataset.Use.TRAINING: "train", JobDataset.Use.VALIDATION: "val"}


@dataclass(frozen=True, kw_only=True)
class LaunchInput:
    """An uploaded dataset and where the job sees it."""

    target: str
    dataset: Dataset
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Launch:
    """Everything of a start command that training decides.

    argv: what follows the Python executable. model_path: a folder on the node to mount at
    `paths.MODEL`, None for a model of a hub. save_every_s: seconds between timed checkpoints.
    """

    argv: list[str]
    env: dict[str, str]
    inputs: list[LaunchInput]
    model_path: str | None
    image: str
    processes: int
    save_every_s: int


def input_target(job_dataset: JobDataset) -> str:
    """Where a job sees an uploaded dataset, e.g. ``/lf/inputs/train-0-3f2a9c01b7d4.jsonl``.

    From the frozen hash, so that the same argv never means other rows.
    """
    prefix = _PREFIX[JobDataset.Use(job_dataset.use)]
    return f"{paths.INPUTS}/{prefix}-{job_dataset.position}-{job_dataset.sha256[:12]}.jsonl"


def input_name(job_dataset: JobDataset) -> str:
    """The file's name below `paths.INPUTS`, as the compiler wants it."""
    return PurePosixPath(input_target(job_dataset)).name


def launch_argv(job: Job, *, device_kind: str, processes: int) -> list[str]:
    """The whole argument list for devices of this kind (``gpu`` or ``cpu``). Pure.

    On CPU slots SWIFT must be told (`--use_cpu`), and several processes need gloo: without it each
    trains for itself (seen with ms-swift 4.6.0). The node puts torch's launcher in front.
    """
    argv = list(job.argv)
    if device_kind == DeviceKind.CPU:
        argv += ["--use_cpu", "true"]
        if processes > 1:
            argv += ["--ddp_backend", "gloo"]
    return argv


@transaction.atomic
def launch_freeze(*, job: Job, attempt: int, device_kind: str) -> Launch:
    """The launch of an attempt: made at the first call, read back at every later one."""
    locked = Job.objects.select_for_update().select_related("instance").get(pk=job.pk)
    kept = locked.launched.get(str(attempt))
    if kept is None:
        processes = locked.instance.processes
        argv = launch_argv(locked, device_kind=device_kind, processes=processes)
        kept = {"argv": argv, "device_kind": str(device_kind), "processes": processes}
        locked.launched = {**locked.launched, str(attempt): kept}
        # Not save(): an audit row per dispatch would say nothing about what a person did.
        Job.objects.filter(pk=job.pk).update(launched=locked.launched)
    job.launched = locked.launched
    return Launch(
        argv=list(kept["argv"]),
        env=dict(locked.env),
        inputs=_inputs(locked),
        model_path=None if locked.model_hub else locked.model,
        image=locked.image,
        processes=int(kept["processes"]),
        save_every_s=settings.CHECKPOINT_EVERY_S,
    )


def _inputs(job: Job) -> list[LaunchInput]:
    rows = job.job_datasets.filter(dataset__kind=Dataset.Kind.UPLOADED).select_related("dataset")
    return [
        LaunchInput(target=input_target(row), dataset=row.dataset, sha256=row.sha256)
        for row in rows.order_by("use", "position")
    ]
