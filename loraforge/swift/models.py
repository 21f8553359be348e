"""The models that SWIFT knows, and which model type and chat template belong to a model.

`model_resolve` follows SWIFT's own way (swift/model/model_meta.py, `get_model_info_meta`): the last
part of the id or path against every registered name, then the architecture in config.json. Where
SWIFT would stop and ask for `--model_type` or `--template`, it picks the likeliest and says so.
"""

import re
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Literal

import msgspec

from loraforge.swift.catalogue import DEFAULT_VERSION, catalogue_bytes

# Where a model type has several chat templates and no own one, the one that most of today's models
# of that type use. Anything else takes the first candidate.
LIKELIEST_TEMPLATES = {"llama": "llama3_2", "qwen2": "qwen2_5", "deepseek_v3": "deepseek_v2_5"}


class ModelType(msgspec.Struct, frozen=True, kw_only=True):
    """A family of models that SWIFT loads alike. template is None where it depends on the model."""

    template: str | None
    candidate_templates: tuple[str, ...]
    architectures: tuple[str, ...]
    is_multimodal: bool
    is_reward: bool
    task_type: str | None
    model_arch: str | None
    requires: tuple[str, ...]
    tags: tuple[str, ...]


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A chat template: the system prompt used when none is given, and whether it thinks aloud."""

    default_system: str | Literal[False] | None
    is_thinking: bool
    agent_template: str | None


class Model(msgspec.Struct, frozen=True, kw_only=True):
    """One registered model: its ids at ModelScope (ms) and Hugging Face (hf), type and template."""

    type: str
    group: int
    ms: str | None = None
    hf: str | None = None
    path: str | None = None
    template: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The id to show: ModelScope's where there is one."""
        return self.ms or self.hf or self.path or ""

    @property
    def names(self) -> list[str]:
        """What SWIFT compares with: the last part of every id, in lower case."""
        ids = (self.ms, self.hf, self.path)
        return [one.rsplit("/", 1)[-1].lower() for one in ids if one]


class ModelRegistry(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """All models, model types and chat templates of one SWIFT release, in SWIFT's order."""

    swift_version: str
    model_types: dict[str, ModelType]
    templates: dict[str, Template]
    models: tuple[Model, ...]

    @cached_property
    def by_name(self) -> Mapping[str, Model]:
        """Last part of an id, lower case -> the first model so named, as SWIFT searches."""
        found: dict[str, Model] = {}
        for model in self.models:
            for name in model.names:
                found.setdefault(name, model)
        return found

    @cached_property
    def texts(self) -> tuple[str, ...]:
        """What a search looks at, one text a model."""
        return tuple(
            " ".join(filter(None, (model.ms, model.hf, model.path, model.type))).lower()
            for model in self.models
        )


class ModelPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the models found; total counts all of them."""

    total: int
    models: tuple[Model, ...]


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """What belongs to a model.

    model_type, template: None when nothing is known. candidate_types, candidate_templates: what a
    person may choose instead, likeliest first. is_certain: SWIFT would find the same by itself; if
    false, the choice should be shown as a guess. source: what told it.
    """

    model_type: str | None
    template: str | None
    candidate_types: tuple[str, ...] = ()
    candidate_templates: tuple[str, ...] = ()
    is_multimodal: bool = False
    task_type: str | None = None
    is_certain: bool = False
    source: Literal["name", "config", "nothing"] = "nothing"


@lru_cache(maxsize=4)
def models_load(version: str = DEFAULT_VERSION) -> ModelRegistry:
    """The models of a SWIFT release. Raises CatalogueMissingError."""
    return msgspec.json.decode(catalogue_bytes(version, ".models.json"), type=ModelRegistry)


def model_search(
    query: str = "", limit: int = 20, offset: int = 0, *, version: str = DEFAULT_VERSION
) -> ModelPage:
    """Models whose ids or type hold every word of the query, in any case.

    An exact name comes first, then names that begin with the query, then the rest in SWIFT's order.
    """
    registry = models_load(version)
    wanted = query.strip().lower()
    words = wanted.split()
    found = [
        (_rank(model, wanted), number, model)
        for number, (model, text) in enumerate(zip(registry.models, registry.texts, strict=True))
        if all(word in text for word in words)
    ]
    found.sort(key=lambda entry: entry[:2])
    first = max(offset, 0)
    page = found[first : first + max(limit, 0)]
    return ModelPage(total=len(found), models=tuple(model for _, _, model in page))


def model_resolve(
    model_id_or_path: str,
    *,
    config: Mapping[str, object] | None = None,
    version: str = DEFAULT_VERSION,
) -> Resolution:
    """Model type and chat template of a hub id or of a folder.

    config: the parsed config.json of a folder (its `architectures` and `model_type` are used).
    """
    registry = models_load(version)
    model = registry.by_name.get(model_name(model_id_or_path).lower())
    if model is not None:
        return _resolution(
            registry, (model.type,), template=model.template, source="name", is_certain=True
        )
    candidates = _types_of_config(registry, config or {})
    if not candidates:
        return Resolution(model_type=None, template=None)
    return _resolution(
        registry, candidates, template=None, source="config", is_certain=len(candidates) == 1
    )


def model_name(model_id_or_path: str) -> str:
    """The last part of an id or path, also of the hubs' cache folders (`get_model_name`)."""
    path = model_id_or_path.rstrip("/")
    cached = re.search(r"/models(?:--(?:.+?--)?|/(?:.+?--)?)(.+?)/snapshots/", path)
    if cached is not None:
        return cached.group(1)
    return path.rsplit("/", 1)[-1].replace("___", ".")


def _rank(model: Model, wanted: str) -> int:
    if not wanted:
        return 0
    ids = [one.lower() for one in (model.ms, model.hf, model.path) if one]
    if wanted in ids or wanted in model.names:
        return 0
    if any(one.startswith(wanted) for one in [*ids, *model.names, model.type]):
        return 1
    return 2


def _types_of_config(registry: ModelRegistry, config: Mapping[str, object]) -> tuple[str, ...]:
    """Model types that fit a config.json; the one named as config.json's own model_type first."""
    architectures = config.get("architectures")
    first = architectures[0] if isinstance(architectures, list) and architectures else None
    own = config.get("model_type")
    fitting = [name for name, kind in registry.model_types.items() if first in kind.architectures]
    if not fitting and isinstance(own, str) and own in registry.model_types:
        fitting = [own]
    return tuple(sorted(fitting, key=lambda name: name != own))


def _resolution(
    registry: ModelRegistry,
    candidates: tuple[str, ...],
    *,
    template: str | None,
    source: Literal["name", "config"],
    is_certain: bool,
) -> Resolution:
    name = candidates[0]
    kind = registry.model_types[name]
    chosen = template or kind.template
    if chosen is None:
        is_certain = is_certain and len(kind.candidate_templates) == 1
        chosen = LIKELIEST_TEMPLATES.get(name) or next(iter(kind.candidate_templates), None)
    rest = (one for one in kind.candidate_templates if one != chosen)
    return Resolution(
        model_type=name,
        template=chosen,
        candidate_types=candidates,
        candidate_templates=(chosen, *rest) if chosen else (),
        is_multimodal=kind.is_multimodal,
        task_type=kind.task_type,
        is_certain=is_certain,
        source=source,
    )
