"""The list of models to pick from: folders on this machine first, then all that SWIFT knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from loraforge.modelhub import locations
from loraforge.modelhub.folders import config_read, model_folders, model_roots
from loraforge.modelhub.locations import Kind
from loraforge.swift.models import Model, model_name, model_resolve, model_search, models_load


@dataclass(frozen=True, kw_only=True)
class ModelChoice:
    """A model to pick. model: what a job is given; ms, hf: its ids at the hubs."""

    model: str
    name: str
    kind: Kind
    hub: str
    ms: str | None
    hf: str | None
    model_type: str | None
    template: str | None
    is_multimodal: bool


class ModelList(Sequence[ModelChoice]):
    """All choices for a search; only the part that is looked at is made."""

    def __init__(self, *, search: str, folders: list[str]) -> None:
        words = search.lower().split()
        self._search = search
        self._folders = [path for path in folders if all(word in path.lower() for word in words)]
        self._total = len(self._folders) + model_search(search, limit=0).total

    def __len__(self) -> int:
        return self._total

    @overload
    def __getitem__(self, index: int) -> ModelChoice: ...
    @overload
    def __getitem__(self, index: slice) -> list[ModelChoice]: ...
    def __getitem__(self, index: int | slice) -> ModelChoice | list[ModelChoice]:
        if isinstance(index, int):
            found = self._part(range(self._total)[index], 1)
            return found[0]
        start, stop, _step = index.indices(self._total)
        return self._part(start, max(0, stop - start))

    def _part(self, start: int, count: int) -> list[ModelChoice]:
        local = [_of_folder(path) for path in self._folders[start : start + count]]
        begin = max(0, start - len(self._folders))
        known = model_search(self._search, limit=count - len(local), offset=begin).models
        return [*local, *(_of_model(model) for model in known)]


def model_list(*, search: str = "") -> ModelList:
    """Models whose id, type or path hold every word of the search."""
    return ModelList(search=search, folders=model_folders())


def _of_folder(path: str) -> ModelChoice:
    root = locations.root_of(path, model_roots())
    config = config_read(path, root=root) if root else None
    found = model_resolve(path, config=config)
    return ModelChoice(
        model=path,
        name=model_name(path),
        kind="path",
        hub="",
        ms=None,
        hf=None,
        model_type=found.model_type,
        template=found.template,
        is_multimodal=found.is_multimodal,
    )


def _of_model(model: Model) -> ModelChoice:
    kind = models_load().model_types[model.type]
    return ModelChoice(
        model=model.id,
        name=model_name(model.id),
        kind="hub",
        hub=locations.MODELSCOPE if model.ms else locations.HUGGINGFACE,
        ms=model.ms,
        hf=model.hf,
        model_type=model.type,
        template=model.template or kind.template,
        is_multimodal=kind.is_multimodal,
    )
