"""Reads of jobs, filtered by what the asker may see."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from django.contrib.auth.models import AnonymousUser
from django.db.models import Prefetch, QuerySet

from loraforge.accounts import access
from loraforge.accounts.models import User
from loraforge.artifacts.models import OutputFile
from loraforge.billing.selectors import Estimate, estimate_get
from loraforge.core.columns import ColumnRows
from loraforge.instances.models import Instance, InstanceEvent, Kind
from loraforge.instances.selectors import job_missing
from loraforge.swift.compiler import accumulation_default, compile_argv, compile_yaml
from loraforge.training.checks import Verdict, draft_check
from loraforge.training.drafts import JobDraft
from loraforge.training.findings import Finding
from loraforge.training.forecast import Forecast, forecast_get, warning_of
from loraforge.training.freezing import (
    arguments_with_remote,
    job_datasets_of,
    platform_arguments,
)
from loraforge.training.models import Command, Job, JobDataset
from loraforge.training.modules import is_training

Asker = User | AnonymousUser

_LISTED_MOST = 500  # in one process
_listed: dict[tuple[Any, ...], ColumnRows] = {}


def job_instances(*, user: Asker) -> QuerySet[Instance]:
    """The jobs that the user may see and that are not deleted, newest first, with nothing joined.

    To filter, count and page by; an index of its own serves it. `ColumnRows` reads a page of it.
    """
    return access.visible(user, Instance.objects.filter(deleted_at=None, kind=Kind.JOB)).order_by(
        "-pk"
    )


def job_columns(*, user: Asker, columns: tuple[str, ...]) -> ColumnRows:
    """The same by columns, unfiltered: what most ask for, so its SQL is written once for each who does."""
    key = (access.standing(user), columns)
    known = _listed.get(key)
    if known is None:
        if len(_listed) >= _LISTED_MOST:
            _listed.clear()
        known = _listed[key] = ColumnRows(job_instances(user=user), columns)
    return known


def job_list(*, user: Asker) -> QuerySet[Job]:
    """The jobs that the user may see and that are not deleted, with instance, owner and node."""
    rows = access.visible(user, Job.objects.filter(instance__deleted_at=None))
    return rows.select_related("instance__owner", "instance__node").order_by("-pk")


def job_get(*, user: Asker, job_id: int) -> Job:
    """One job with its datasets. Raises NotFound when it is not there or none of the user's business."""
    datasets = JobDataset.objects.select_related("dataset").order_by("use", "position")
    job = (
        job_list(user=user)
        .select_related("instance__wanted_node", "parent")
        .prefetch_related(Prefetch("job_datasets", queryset=datasets))
        .filter(instance__id=job_id)
        .first()
    )
    if job is None:
        raise job_missing(job_id)
    return job


def job_events(*, job: Job) -> QuerySet[InstanceEvent]:
    """What happened to a job that the caller already may see, first to last."""
    rows = InstanceEvent.objects.filter(instance_id=job.pk)
    return rows.select_related("actor").order_by("id")


def job_has_files(*, job: Job) -> bool:
    """True when files of it lie on a node, as far as the manifests tell, or may lie there."""
    listed = OutputFile.objects.filter(attempt__instance_id=job.pk, removed_at=None).exists()
    return listed or job.instance.attempts.exists()


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What a draft would become.

    argv: what follows the Python executable, without device flags; command_line: the same, to read
    and to copy; config_yaml, config_json: files to keep and to import elsewhere. problems: empty when the
    job could start. effective_batch_size: rows per optimizer step.
    estimate: what it would cost; None where nothing has a price. forecast: memory, steps, disk and time.
    """

    argv: list[str] = field(default_factory=list)
    command_line: str = ""
    config_yaml: str = ""
    config_json: str = ""
    problems: list[Finding]
    warnings: list[Finding]
    model_type: str
    template: str
    effective_batch_size: int
    estimate: Estimate | None
    forecast: Forecast


def command_line(argv: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
    """A command for a shell, each argument with its values on a line of its own.

    argv: what follows the Python executable. environment: variables before it. Pasted into a POSIX shell it
    is one command.
    """
    lines = [f"{name}={shlex.quote(one)}" for name, one in (environment or {}).items()]
    lines.append("python")
    for word in argv:
        if word.startswith("--"):
            lines.append(shlex.quote(word))
        else:
            lines[-1] += f" {shlex.quote(word)}"
    return " \\\n  ".join(lines)


def _number(value: object, otherwise: int) -> int:
    return value if isinstance(value, int) else otherwise


def _estimate(verdict: Verdict) -> Estimate | None:
    return estimate_get(
        devices=[device for found in verdict.room.devices.values() for device in found],
        gpus=max(1, verdict.draft.devices_wanted),
        run_s=verdict.run_limit_s,
    )


def _plain_settings(verdict: Verdict) -> dict[str, Any]:
    """What a person chose, as `swift/parse/` reads it back."""
    draft = verdict.draft
    chosen: dict[str, Any] = {
        "command": draft.command,
        "model": draft.model,
        "model_type": draft.model_type,
        "template": draft.template,
        "datasets": [one.remote_id or one.name for one in verdict.datasets],
        "validation_datasets": [one.remote_id or one.name for one in verdict.validation_datasets],
        "ref_model": draft.ref_model,
        "teacher_model": draft.teacher_model,
        "reward_models": list(draft.reward_models),
        "environment": verdict.environment,
    }
    kept = {name: value for name, value in chosen.items() if value}
    return {**kept, "arguments": verdict.arguments}


def job_preview(*, user: User, draft: JobDraft) -> Preview:
    """Judge a draft and show what would run. Right arguments are compiled even when others are wrong."""
    verdict = draft_check(user=user, draft=draft)
    found = verdict.findings
    forecast = forecast_get(user=user, verdict=verdict)
    if too_large := warning_of(forecast):
        found.warn("gpus", too_large)
    arguments = arguments_with_remote(verdict)
    per_device = max(1, _number(arguments.get("per_device_train_batch_size"), 1))
    world = max(draft.processes, 1)
    chosen = accumulation_default(
        rows=per_device, world=world, rlhf_type=arguments.get("rlhf_type")
    )
    accumulation = _number(arguments.get("gradient_accumulation_steps"), chosen)
    shared = {
        "problems": found.problems,
        "warnings": found.warnings,
        "model_type": verdict.model_type,
        "template": verdict.template,
        "effective_batch_size": per_device * accumulation * world,
        "estimate": _estimate(verdict),
        "forecast": forecast,
    }
    if draft.command not in Command.values:
        return Preview(**shared)  # type: ignore[arg-type]
    rows = job_datasets_of(Job(), verdict)
    # A seed that nobody gave is drawn at submit: the preview must not show one that will not be used.
    platform = platform_arguments(verdict, rows=rows, seed=None)
    argv = compile_argv(draft.command, arguments, platform=platform)
    if verdict.weights is not None and is_training(draft.command):
        argv += verdict.weights.flags
    plain = _plain_settings(verdict)
    return Preview(
        argv=argv,
        command_line=command_line(argv, verdict.environment),
        config_yaml=compile_yaml(
            draft.command, arguments, platform=platform, environment=verdict.environment
        ),
        config_json=msgspec.json.format(msgspec.json.encode(plain)).decode(),
        **shared,  # type: ignore[arg-type]
    )
