"""The models beside the base model: whose rewards, whose reference, whose teaching. Judged, and named for SWIFT."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
from django.utils.translation import gettext as _

from loraforge.accounts.models import User
from loraforge.core.errors import LoraForgeError
from loraforge.modelhub.services import model_describe
from loraforge.swift.catalogue import Value
from loraforge.training.drafts import JobDraft
from loraforge.training.findings import Findings
from loraforge.training.hub import HubFetch, model_fetch
from loraforge.training.launch import ExtraModel
from loraforge.training.models import Command
from loraforge.training.weights import Found, checkpoint_find
from nodeagent.contract import paths

_CHECKPOINT = re.compile(r"[0-9]{1,18}(?::[0-9]{1,18}:[0-9]{1,18})?", re.ASCII)
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]", re.ASCII)
_FIELDS = {
    "ref_model": "ref_model",
    "teacher_model": "teacher_model",
    "reward_model": "reward_models",
}


@dataclass(frozen=True, kw_only=True)
class Base:
    """The job's own model, which others may share."""

    model: str
    hub: str


def named_of(draft: JobDraft) -> list[tuple[str, str]]:
    """(SWIFT's argument, what the draft names) of each, in a fixed order."""
    single = [("ref_model", draft.ref_model), ("teacher_model", draft.teacher_model)]
    rewards = [("reward_model", one) for one in draft.reward_models]
    return [(argument, named) for argument, named in (*single, *rewards) if named]


def models_find(*, user: User, draft: JobDraft, base: Base, findings: Findings) -> list[ExtraModel]:
    """Those of a draft that can be had; why another one cannot is said under its field."""
    named = named_of(draft)
    if draft.command != Command.RLHF:
        for argument, _named in named:
            findings.refuse(_FIELDS[argument], _("Only Alignment has such a model. Remove it."))
        return []
    found = [
        _find(user, argument, name, number, base, findings)
        for number, (argument, name) in enumerate(named)
    ]
    usable = [one for one in found if one is not None]
    rewards = [one for one in usable if one.argument == "reward_model"]
    if len(rewards) > 1 and any(one.adapter for one in rewards):
        text = _("Of several reward models none may be LoRA weights: SWIFT would use them for all.")
        findings.refuse("reward_models", text)
    return usable


def _find(  # noqa: PLR0917 - one model among its like
    user: User, argument: str, named: str, number: int, base: Base, findings: Findings
) -> ExtraModel | None:
    field = _FIELDS[argument]
    if _CHECKPOINT.fullmatch(named):
        found = checkpoint_find(user=user, named=named, field=field, findings=findings)
        return _of_job(argument, number, base, found) if found is not None else None
    try:
        described = model_describe(model=named)
    except LoraForgeError as error:
        findings.refuse(field, error.message)
        return None
    for warning in described.warnings:
        findings.warn(field, str(warning))
    is_base = (described.model, described.hub) == (base.model, base.hub)
    return ExtraModel(
        argument=argument,
        named=named,
        model=described.model,
        hub=described.hub,
        model_type=described.model_type or "",
        target="" if is_base else _target(number, described.model),
    )


def _of_job(argument: str, number: int, base: Base, found: Found) -> ExtraModel:
    source, resume = found.source, found.resume
    is_base = resume.is_whole or (source.model, source.model_hub) == (base.model, base.hub)
    return ExtraModel(
        argument=argument,
        named=f"{source.pk}:{resume.attempt}:{resume.step}",
        model=source.model,
        hub=source.model_hub,
        model_type=source.model_type,
        target="" if is_base else _target(number, source.model),
        checkpoint=msgspec.structs.replace(resume, under=f"model-{number}"),
    )


def reference_of(draft: JobDraft, found: Found | None) -> list[ExtraModel]:
    """LoRA weights that an alignment goes on from are its reference too: without it that would be the base model.

    Not where another one is chosen. An attempt that resumes needs them as well, so they have a place of their own.
    """
    method = draft.arguments.get("rlhf_type", "dpo")
    goes_on = draft.command == Command.RLHF and method in ("dpo", "kto", "grpo")
    if found is None or found.resume.is_whole or draft.ref_model or not goes_on:
        return []
    weights = msgspec.structs.replace(found.resume, under="reference")
    source = found.source
    return [
        ExtraModel(
            argument="ref_model",
            named="",
            model=source.model,
            hub=source.model_hub,
            model_type=source.model_type,
            checkpoint=weights,
        )
    ]


def _target(number: int, model: str) -> str:
    """Where the job sees it; the last part is the model's own name, by which SWIFT may know it."""
    name = _UNSAFE.sub("_", model.partition(":")[0].rstrip("/").rpartition("/")[2]) or "model"
    return f"{paths.DATA}/model-{number}/{name}"


def fetches_of(models: Iterable[ExtraModel]) -> list[HubFetch]:
    """What of them the node has of model hubs."""
    found = []
    for one in models:
        fetch = model_fetch(model=one.model, hub=one.hub, target=one.target) if one.target else None
        found += [fetch] if fetch is not None else []
    return found


def arguments_of(models: Sequence[ExtraModel], given: dict[str, Value]) -> dict[str, Value]:
    """How SWIFT is told of them. given: the user's arguments."""
    values: dict[str, Value] = {}
    for argument, short in (("ref_model", "ref"), ("teacher_model", "teacher")):
        for one in (one for one in models if one.argument == argument):
            if one.adapter:
                values[f"{short}_adapters"] = [one.adapter]
            if not (one.adapter and short == "ref"):
                values[argument] = one.place
                values |= _type(f"{argument}_type", one, given)
    rewards = [one for one in models if one.argument == "reward_model"]
    if rewards:
        values["reward_model"] = [one.place for one in rewards]
        if all(one.model_type for one in rewards) and not given.get("reward_model_type"):
            values["reward_model_type"] = [one.model_type for one in rewards]
        if adapters := [one.adapter for one in rewards if one.adapter]:
            values["reward_adapters"] = list(adapters)
    return values


def _type(name: str, one: ExtraModel, given: dict[str, Value]) -> dict[str, Value]:
    return {name: one.model_type} if one.model_type and not given.get(name) else {}
