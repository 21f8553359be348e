"""What a person asks for, before it is judged."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any

import msgspec

from loraforge.training.models import Job, JobDataset


@dataclass(frozen=True, kw_only=True)
class JobDraft:
    """A job as it is wanted.

    arguments: SWIFT's argument names -> values, only those that are not left to the default.
    model: hub id, or a folder on a node; model_hub: "modelscope", "huggingface" or "" (a folder, or
    let the platform find out). model_type, template: "" = let the platform find out. datasets,
    validation_datasets: ids. gpus: devices wanted (GPUs, or CPU slots of a node without GPUs);
    gpu_uuids names them and then decides the number. node: a name, "" = any. processes: data-parallel
    processes, 1 = DDP off. priority: higher goes first; only operators raise it.

    weights_from: another job whose weights it begins with, with a schedule of its own: ``<job>`` (its newest
    checkpoint) or ``<job>:<attempt>:<step>``; "" = from the base model. What does not train (inference,
    export, evaluation, sampling) works on them instead. parent: the job that it was made from, None =
    leave that as it is.

    Alignment and GRPO: ref_model, teacher_model, reward_models are models beside the base model, each a hub
    id, a folder on a node, or another job's checkpoint ``<job>:<attempt>:<step>``; "" = none. reward_files:
    ids of uploaded Python files with reward functions (datasets of the kind "code").

    environment: variables of `loraforge.swift.forms.environment` -> their values.

    If something goes wrong: oom_recovery allows one attempt with a smaller batch when the GPU ran out of
    memory; on_node_lost is "wait" or "restart"; max_run_s is the longest run in seconds, 0 = as long as the
    role may; save_every_s is the time between checkpoints, None = the platform's setting, 0 = never.
    """

    name: str = ""
    command: str = "sft"
    arguments: Mapping[str, object] = field(default_factory=dict)
    model: str = ""
    model_hub: str = ""
    model_type: str = ""
    template: str = ""
    datasets: tuple[int, ...] = ()
    validation_datasets: tuple[int, ...] = ()
    gpus: int = 1
    gpu_uuids: tuple[str, ...] = ()
    node: str = ""
    processes: int = 1
    priority: int = 0
    tags: tuple[str, ...] = ()
    notes: str = ""
    weights_from: str = ""
    ref_model: str = ""
    teacher_model: str = ""
    reward_models: tuple[str, ...] = ()
    reward_files: tuple[int, ...] = ()
    environment: Mapping[str, object] = field(default_factory=dict)
    parent: int | None = None
    oom_recovery: bool = False
    on_node_lost: str = "wait"
    max_run_s: int = 0
    save_every_s: int | None = None

    @property
    def devices_wanted(self) -> int:
        """How many devices it occupies."""
        return len(self.gpu_uuids) or self.gpus

    def fingerprint(self, *, start: bool) -> str:
        """SHA-256 in hex over everything asked for: equal requests are equal whatever their order."""
        body = msgspec.json.encode({**asdict(self), "start": start}, order="deterministic")
        return sha256(body).hexdigest()


def weights_id(job: Job) -> str:
    """Whose weights it begins with, as `JobDraft.weights_from` has it."""
    plain = job.weights
    return f"{plain['job']}:{plain['attempt']}:{plain['step']}" if plain else ""


def named_models(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Frozen models beside the base model, as the fields of a draft."""
    named: dict[str, list[str]] = {"ref_model": [], "teacher_model": [], "reward_model": []}
    for row in rows:
        named[row["argument"]].append(row["named"])
    return {
        "ref_model": "".join(named["ref_model"]),
        "teacher_model": "".join(named["teacher_model"]),
        "reward_models": tuple(named["reward_model"]),
    }


def draft_of_job(job: Job) -> JobDraft:
    """The draft that would make this job again."""
    instance = job.instance
    used: dict[str, list[int]] = {use: [] for use in JobDataset.Use.values}
    for row in job.job_datasets.all():
        used[row.use].append(row.dataset_id)
    return JobDraft(
        name=instance.name,
        command=job.command,
        arguments=dict(job.arguments),
        model=job.model,
        model_hub=job.model_hub,
        model_type=job.model_type,
        template=job.template,
        datasets=tuple(used[JobDataset.Use.TRAINING]),
        validation_datasets=tuple(used[JobDataset.Use.VALIDATION]),
        gpus=instance.gpus,
        gpu_uuids=tuple(instance.wanted_devices),
        node=instance.wanted_node.name if instance.wanted_node else "",
        processes=instance.processes,
        priority=instance.priority,
        tags=tuple(instance.tags),
        notes=instance.notes,
        weights_from=weights_id(job),
        **named_models(job.extra_models),
        reward_files=tuple(used[JobDataset.Use.REWARD]),
        environment=dict(job.environment),
        oom_recovery=job.oom_recovery,
        on_node_lost=job.on_node_lost,
        max_run_s=job.max_run_s,
        save_every_s=job.save_every_s,
    )
