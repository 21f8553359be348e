"""What decides the run, written on the job's row: later changes elsewhere change nothing."""

import secrets
from collections.abc import Iterable
from typing import Any

import msgspec
from django.conf import settings

from loraforge.datasets.models import Dataset
from loraforge.swift.catalogue import DEFAULT_VERSION, Value
from loraforge.swift.compiler import PlatformArguments, compile_argv, compile_env
from loraforge.training import hub
from loraforge.training.checks import Verdict
from loraforge.training.extramodels import arguments_of, fetches_of
from loraforge.training.inputs import columns_of
from loraforge.training.launch import input_name
from loraforge.training.models import Job, JobDataset
from loraforge.training.modules import is_training
from nodeagent.contract import paths

# SWIFT, numpy and torch all take it; small enough to be read out aloud.
SEED_LIMIT = 2**31 - 1


def seed_of(arguments: dict[str, Value], before: int | None) -> int:
    """The given seed, else the one the job has, else a new one: it is stored, so it can be repeated."""
    given = arguments.get("seed")
    if isinstance(given, int):
        return given
    return before if before is not None else secrets.randbelow(SEED_LIMIT)


def job_datasets_of(job: Job, verdict: Verdict) -> list[JobDataset]:
    """The rows, not saved, with the hashes of this moment."""
    uses = (
        (JobDataset.Use.TRAINING, verdict.datasets),
        (JobDataset.Use.VALIDATION, verdict.validation_datasets),
        (JobDataset.Use.REWARD, verdict.reward_files),
    )
    return [
        JobDataset(job=job, dataset=dataset, use=use, position=position, sha256=dataset.sha256)
        for use, datasets in uses
        for position, dataset in enumerate(datasets)
    ]


def platform_arguments(
    verdict: Verdict, *, rows: Iterable[JobDataset], seed: int | None
) -> PlatformArguments:
    """What the platform decides, without the devices (see `launch`)."""
    uploaded = [row for row in rows if row.dataset.kind != Dataset.Kind.REMOTE]
    names = {
        use: tuple(input_name(row) for row in uploaded if row.use == use)
        for use in JobDataset.Use.values
    }
    works_on = verdict.weights if not is_training(verdict.draft.command) else None
    whole = works_on.folder if works_on is not None and works_on.is_whole else ""
    return PlatformArguments(
        model=whole or (verdict.model if verdict.model_hub else paths.MODEL),
        model_type=verdict.model_type or None,
        template=verdict.template or None,
        datasets=names[JobDataset.Use.TRAINING],
        val_datasets=names[JobDataset.Use.VALIDATION],
        seed=seed,
        use_hf=verdict.model_hub == "huggingface",
        adapters=(works_on.folder,) if works_on is not None and not whole else (),
        reward_files=names[JobDataset.Use.REWARD],
        models=arguments_of(verdict.models, verdict.arguments),
    )


def arguments_with_remote(verdict: Verdict) -> dict[str, Value]:
    """The checked arguments, with what the chosen datasets add: hub ids of remote ones, and columns."""
    arguments = dict(verdict.arguments)
    chosen = (("dataset", verdict.datasets), ("val_dataset", verdict.validation_datasets))
    for name, datasets in chosen:
        remote = [one.remote_id for one in datasets if one.kind == Dataset.Kind.REMOTE]
        named = arguments.get(name)
        if remote:
            arguments[name] = [*(named if isinstance(named, list) else []), *remote]
    columns, _conflict = columns_of([*verdict.datasets, *verdict.validation_datasets])
    if columns:
        arguments["columns"] = dict(columns)
    return arguments


def frozen_columns(
    verdict: Verdict, *, rows: Iterable[JobDataset], seed_before: int | None
) -> dict[str, Any]:
    """Column -> value for the job's row."""
    draft = verdict.draft
    seed = seed_of(verdict.arguments, seed_before)
    use_hf = verdict.model_hub == hub.HUGGINGFACE or verdict.arguments.get("use_hf") is True
    arguments, fetches = hub.datasets_rewrite(arguments_with_remote(verdict), use_hf=use_hf)
    platform = platform_arguments(verdict, rows=rows, seed=seed)
    is_base = not platform.model.startswith(f"{paths.INPUTS}/")
    platform = msgspec.structs.replace(platform, model=paths.MODEL) if is_base else platform
    own = {name for name in ("model_type", "template") if getattr(draft, name)}
    revision = str(verdict.arguments.get("model_revision", ""))
    fetched = verdict.model_hub if is_base else ""
    model = hub.model_fetch(model=verdict.model, hub=fetched, revision=revision)
    parent = verdict.parent or (verdict.weights.job if verdict.weights else None)
    return {
        **({"parent_id": parent} if parent else {}),
        "weights": msgspec.to_builtins(verdict.weights) if verdict.weights else {},
        "command": draft.command,
        "arguments": {key: one for key, one in verdict.arguments.items() if key not in own},
        "model": verdict.model,
        "model_hub": verdict.model_hub,
        "model_revision": revision,
        "model_type": verdict.model_type,
        "template": verdict.template,
        "seed": seed,
        "argv": compile_argv(draft.command, arguments, platform=platform),
        "env": {
            **verdict.environment,
            **compile_env(
                arguments,
                platform=platform,
                save_every_s=settings.CHECKPOINT_EVERY_S,
                command=draft.command,
            ),
        },
        "environment": verdict.environment,
        "fetches": [
            one.plain
            for one in (*([model] if model else []), *fetches_of(verdict.models), *fetches)
        ],
        "extra_models": msgspec.to_builtins(verdict.models),
        "oom_recovery": draft.oom_recovery,
        "on_node_lost": draft.on_node_lost,
        "max_run_s": draft.max_run_s,
        "run_limit_s": verdict.run_limit_s,
        "save_every_s": draft.save_every_s,
        "catalogue_version": DEFAULT_VERSION,
        "image": settings.SWIFT_IMAGE,
    }
