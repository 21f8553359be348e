"""What a model that somebody typed or picked is, and what SWIFT needs to be told about it."""

import os
import socket
from dataclasses import dataclass, replace

from django.utils.translation import gettext as _

from loraforge.core.errors import Invalid
from loraforge.modelhub import locations
from loraforge.modelhub.folders import config_read, model_roots
from loraforge.modelhub.locations import Kind
from loraforge.nodes.models import Node
from loraforge.swift.models import Resolution, model_resolve, models_load


@dataclass(frozen=True, kw_only=True)
class ModelDescription:
    """A model, named as jobs name it.

    model: the hub id, or the normalised path. hub: "" for a path. model_type, template: what SWIFT is
    told; None when a person must choose. candidate_types, candidate_templates: what may be chosen
    instead, likeliest first. is_certain: SWIFT itself would find the same. revision: that a pasted address
    names, "" = the hub's default.
    """

    model: str
    kind: Kind
    hub: str
    model_type: str | None
    template: str | None
    candidate_types: tuple[str, ...]
    candidate_templates: tuple[str, ...]
    is_certain: bool
    is_multimodal: bool
    warnings: tuple[str, ...]
    revision: str = ""


def model_describe(*, model: str, hub: str = "") -> ModelDescription:
    """Describe a hub id, a pasted address of a hub's page, or a folder.

    hub: "modelscope" or "huggingface"; "" = the first that has it. Raises Invalid:
    `modelhub:outside_roots`, `modelhub:not_absolute`, `modelhub:no_such_folder`, `modelhub:bad_id`.
    """
    text = model.strip()
    pasted = locations.url_read(text)
    if pasted is not None:
        return _describe_id(pasted.model, pasted.hub, pasted.revision)
    if locations.is_path_like(text):
        return _describe_path(text)
    if locations.is_hub_id(text):
        return _describe_id(text, hub)
    known = models_load().by_name.get(text.lower())
    if known is None:
        raise _bad_id()
    return _describe_id(known.id, hub)  # named without its organisation: the list knows it


def _refused(error_id: str, message: str) -> Invalid:
    return Invalid(error_id, message, fields={"model": [message]})


def _bad_id() -> Invalid:
    message = _(
        "A model is a hub id such as Qwen/Qwen2.5-7B-Instruct, or the absolute path of a folder on a node."
    )
    return _refused("modelhub:bad_id", message)


def _describe_id(model_id: str, hub: str, revision: str = "") -> ModelDescription:
    plain = model_id.partition(":")[0]
    warnings = []
    found = model_resolve(plain)
    hubs = _hubs_of(plain)
    if not hub:
        hub = hubs[0] if hubs else locations.MODELSCOPE
    elif hubs and hub not in hubs:
        warnings.append(
            _("SWIFT knows %(model)s at %(hub)s only.") % {"model": plain, "hub": ", ".join(hubs)}
        )
    if revision:
        text = _("The address names the revision %(revision)s: set --model_revision to use it.")
        warnings.append(text % {"revision": revision})
    return replace(_description(model_id, "hub", hub, found, warnings), revision=revision)


def _hubs_of(model_id: str) -> list[str]:
    """The hubs at which SWIFT's list has exactly this id, ModelScope first."""
    wanted = model_id.lower()
    found = set()
    for model in models_load().models:
        if model.ms and model.ms.lower() == wanted:
            found.add(locations.MODELSCOPE)
        if model.hf and model.hf.lower() == wanted:
            found.add(locations.HUGGINGFACE)
    return sorted(found, reverse=True)


def _describe_path(text: str) -> ModelDescription:
    path = locations.path_normalise(text)
    if path is None:
        raise _refused(
            "modelhub:not_absolute",
            _("Write the whole path of the folder on the node, beginning with a slash."),
        )
    roots = model_roots()
    root = locations.root_of(path, roots)
    if root is None:
        raise _refused(
            "modelhub:outside_roots",
            _(
                "A model folder must lie in one of these: %(roots)s. Move it there, or ask an operator."
            )
            % {"roots": ", ".join(roots)},
        )
    warnings = []
    config = config_read(path, root=root)
    if os.path.isdir(path):  # noqa: PTH112 - pathlib raises for a name that is too long
        if config is None:
            warnings.append(_("The folder has no config.json that can be read: is it a model?"))
    elif _is_all_here():
        raise _refused(
            "modelhub:no_such_folder", _("There is no folder %(path)s.") % {"path": path}
        )
    else:
        warnings.append(
            _("The folder cannot be seen from here; the node looks for it when the job starts.")
        )
    return _description(path, "path", "", model_resolve(path, config=config), warnings)


def _is_all_here() -> bool:
    """True when every node that has joined is this very machine, so its folders are seen from here."""
    hostnames = set(Node.objects.exclude(joined_at=None).values_list("hostname", flat=True))
    return hostnames == {socket.gethostname()}


def _description(
    model: str, kind: Kind, hub: str, found: Resolution, warnings: list[str]
) -> ModelDescription:
    if found.model_type is None:
        warnings.append(
            _("SWIFT does not know this model. Choose its model type and chat template.")
        )
    elif found.template is None:
        warnings.append(_("Choose the chat template: SWIFT has none for this model type."))
    elif not found.is_certain:
        warnings.append(
            _("Model type and chat template are a guess; other choices: %(choices)s.")
            % {"choices": ", ".join((*found.candidate_types, *found.candidate_templates))}
        )
    return ModelDescription(
        model=model,
        kind=kind,
        hub=hub,
        model_type=found.model_type,
        template=found.template,
        candidate_types=found.candidate_types,
        candidate_templates=found.candidate_templates,
        is_certain=found.is_certain,
        is_multimodal=found.is_multimodal,
        warnings=tuple(warnings),
    )
