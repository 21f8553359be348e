"""The judgement over a draft: everything that is wrong with it, in one go."""

from dataclasses import dataclass

import msgspec
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.errors import LoraForgeError
from loraforge.core.texts import has_nul
from loraforge.datasets.models import Dataset
from loraforge.modelhub.services import ModelDescription, model_describe
from loraforge.swift.cases import JobFacts
from loraforge.swift.catalogue import Value
from loraforge.swift.compiler import hears_plugin
from loraforge.swift.forms.environment import FIELD as ENVIRONMENT
from loraforge.swift.forms.environment import environment_check
from loraforge.swift.rules import arguments_check
from loraforge.training.drafts import JobDraft
from loraforge.training.extramodels import Base, models_find, reference_of
from loraforge.training.findings import Findings
from loraforge.training.inputs import Inputs, datasets_check
from loraforge.training.launch import ExtraModel, Resume
from loraforge.training.models import Command
from loraforge.training.options import DEAF, options_check
from loraforge.training.placement import Room, room_check
from loraforge.training.weights import (
    Found,
    Wanted,
    based_on,
    parent_check,
    weights_find,
    weights_fit,
)

NAME_MAX = 120
TAGS_MAX = 20
TAG_MAX = 40
NOTES_MAX = 20_000
ARGUMENTS_MAX = 1000
ENVIRONMENT_MAX = 100
# Linux gives a new process 2 MiB for all its arguments and its environment.
ARGUMENTS_MAX_BYTES = 1024**2
MODEL_MAX = 500
PRIORITY_MAX = 100
HUBS = ("", "modelscope", "huggingface")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A judged draft, with all that was found out on the way.

    arguments: full names, SWIFT's types, only what is right; environment likewise. model: the hub id or
    normalised path. run_limit_s: the longest that it may run, 0 = without limit. weights: what it begins
    with, None = the base model. models: those beside the base model. parent: the job that it was made from,
    None = as before.
    """

    draft: JobDraft
    findings: Findings
    arguments: dict[str, Value]
    environment: dict[str, str]
    model: str
    model_hub: str
    model_type: str
    template: str
    datasets: list[Dataset]
    validation_datasets: list[Dataset]
    reward_files: list[Dataset]
    room: Room
    run_limit_s: int
    weights: Resume | None
    models: list[ExtraModel]
    parent: int | None


def draft_check(*, user: User, draft: JobDraft) -> Verdict:
    """Judge a draft for the user who will own the job. Raises nothing for what is wrong with it."""
    findings = Findings()
    _texts_check(user, draft, findings)
    room = room_check(draft=draft, findings=findings)
    inputs = datasets_check(user=user, draft=draft, findings=findings)
    found = weights_find(user=user, draft=draft, findings=findings)
    draft = based_on(draft, found)
    described = _model_check(draft, findings)
    base = Base(
        model=described.model if described else draft.model, hub=described.hub if described else ""
    )
    models = models_find(user=user, draft=draft, base=base, findings=findings)
    models += reference_of(draft, found)
    arguments = _arguments_check(
        draft, facts_of(draft, room=room, inputs=inputs, found=found, models=models), findings
    )
    run_limit_s = options_check(user=user, draft=draft, findings=findings)
    if not hears_plugin(draft.command, arguments):
        findings.warn("command", str(DEAF))
    wanted = Wanted(model=base.model, model_hub=base.hub, arguments=arguments)
    model_type = (described.model_type if described else None) or ""
    template = (described.template if described else None) or ""
    return Verdict(
        draft=draft,
        findings=findings,
        arguments=arguments,
        environment=_environment_check(draft, findings),
        model=wanted.model,
        model_hub=wanted.model_hub,
        model_type=str(arguments.get("model_type", model_type)),
        template=str(arguments.get("template", template)),
        datasets=inputs.datasets,
        validation_datasets=inputs.validation,
        reward_files=inputs.reward_files,
        room=room,
        run_limit_s=run_limit_s,
        weights=weights_fit(found=found, draft=draft, wanted=wanted, findings=findings),
        models=models,
        parent=parent_check(user=user, draft=draft, findings=findings),
    )


def facts_of(
    draft: JobDraft, *, room: Room, inputs: Inputs, found: Found | None, models: list[ExtraModel]
) -> JobFacts:
    """What the rules over several arguments are told beside them."""
    kinds = {one.argument: "adapter" if one.adapter else "whole" for one in models}
    return JobFacts(
        has_model=bool(draft.model),
        has_dataset=bool(draft.datasets),
        has_validation_set=bool(draft.validation_datasets),
        is_cpu=room.is_cpu,
        processes=draft.processes,
        weights=found.kind if found is not None else "",
        ref_model=kinds.get("ref_model", ""),
        teacher_model=kinds.get("teacher_model", ""),
        reward_models=len(draft.reward_models),
        reward_files=len(draft.reward_files),
        reward_names=tuple(name for file in inputs.reward_files for name in file.rewards),
    )


def is_plain(text: str) -> bool:
    """True for one line of text without control characters, as names are."""
    return text.isprintable()


def _texts_check(user: User, draft: JobDraft, findings: Findings) -> None:
    if draft.command not in Command.values:
        text = _("There is no such job type. One of: %(choices)s.")
        findings.refuse("command", text % {"choices": ", ".join(Command.values)})
    if len(draft.name) > NAME_MAX or not is_plain(draft.name):
        text = _("A name is one line of at most %(limit)s characters.")
        findings.refuse("name", text % {"limit": NAME_MAX})
    if len(draft.tags) > TAGS_MAX or any(len(t) > TAG_MAX or not is_plain(t) for t in draft.tags):
        text = _("At most %(count)s tags, each one line of at most %(limit)s characters.")
        findings.refuse("tags", text % {"count": TAGS_MAX, "limit": TAG_MAX})
    if len(draft.notes) > NOTES_MAX or "\0" in draft.notes:
        text = _("Notes are at most %(limit)s characters of text.")
        findings.refuse("notes", text % {"limit": NOTES_MAX})
    if abs(draft.priority) > PRIORITY_MAX:
        findings.refuse("priority", _("A number from -100 to 100."))
    elif draft.priority > 0 and not access.may(user, Action.OPERATE):
        text = _("Only operators raise the priority. Use 0, or ask an operator.")
        findings.refuse("priority", text)


def _model_check(draft: JobDraft, findings: Findings) -> ModelDescription | None:
    """What is known of the model; None when it cannot be used."""
    if draft.model_hub not in HUBS:
        text = _("There is no such model hub. One of: %(choices)s.")
        findings.refuse("model_hub", text % {"choices": ", ".join(HUBS[1:])})
        return None
    if not draft.model:
        return None  # the rules say that it is missing
    if len(draft.model) > MODEL_MAX or not is_plain(draft.model):
        text = _("A model is a hub id or a folder of at most %(limit)s characters.")
        findings.refuse("model", text % {"limit": MODEL_MAX})
        return None
    try:
        described = model_describe(model=draft.model, hub=draft.model_hub)
    except LoraForgeError as error:
        findings.refuse_error("model", error)
        return None
    for warning in described.warnings:
        findings.warn("model", str(warning))
    return described


def _arguments_check(draft: JobDraft, facts: JobFacts, findings: Findings) -> dict[str, Value]:
    if draft.command not in Command.values:
        return {}
    given = draft.arguments
    if len(given) > ARGUMENTS_MAX:
        text = _("At most %(limit)s arguments.")
        findings.refuse("arguments", text % {"limit": ARGUMENTS_MAX})
        return {}
    if "model" in given:
        findings.refuse("arguments.model", _("Give the model in the field model instead."))
    own = {"model_type": draft.model_type, "template": draft.template}
    overrides = {name: value for name, value in own.items() if value}
    checked = arguments_check(
        draft.command,
        {name: value for name, value in {**given, **overrides}.items() if name != "model"},
        facts=facts,
    )
    findings.add_swift(checked.problems, overridden=frozenset(overrides))
    if len(msgspec.json.encode(checked.arguments)) > ARGUMENTS_MAX_BYTES:
        text = _("All arguments together are longer than %(limit)s bytes. Shorten some of them.")
        findings.refuse("arguments", text % {"limit": ARGUMENTS_MAX_BYTES})
    readable = {name: one for name, one in checked.arguments.items() if not has_nul(one)}
    for name in checked.arguments.keys() - readable.keys():
        text = _("--%(name)s holds a zero byte. Remove it.")
        findings.refuse(f"arguments.{name}", text % {"name": name})
    return readable


def _environment_check(draft: JobDraft, findings: Findings) -> dict[str, str]:
    if len(draft.environment) > ENVIRONMENT_MAX:
        text = _("At most %(limit)s environment variables.")
        findings.refuse(ENVIRONMENT, text % {"limit": ENVIRONMENT_MAX})
        return {}
    values, problems = environment_check(draft.environment)
    findings.add_swift(problems, group=ENVIRONMENT)
    return values
