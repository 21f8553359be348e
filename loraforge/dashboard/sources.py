"""What the form of a new job can be filled from: another job, a recipe, a model."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.texts import number_read
from loraforge.dashboard.explain import diagnosis
from loraforge.dashboard.jobs import job_remedy
from loraforge.datasets.models import Dataset
from loraforge.recipes.contents import ID_MAX
from loraforge.recipes.selectors import KEY_MAX, Chosen, chosen_get
from loraforge.training.api.serializers import JobInput
from loraforge.training.drafts import draft_of_job
from loraforge.training.models import Job
from loraforge.training.policy import ACCUMULATION, BATCH
from loraforge.training.recovery import batch_of
from loraforge.training.selectors import job_get
from loraforge.training.weights import weights_may

WEIGHTS_MAX = 40  # characters of <attempt>:<step>
MODEL_MAX = 500
KEY_MAX_STORED = 100
NOTHING = "new"  # the key of a form that was filled from nothing
DATASETS = ("datasets", "validation_datasets", "reward_files")


class Source(ABC):
    """Where the form is filled from."""

    changes: tuple[
        tuple[str, Any, Any], ...
    ] = ()  # (argument, before, now) of what a failure suggests
    cause = ""  # why it failed

    @property
    @abstractmethod
    def key(self) -> str:
        """Tells one way of filling the form from another, for the form as it was left."""

    @property
    @abstractmethod
    def title(self) -> str:
        """What people call it."""

    @abstractmethod
    def draft(self, user: User) -> dict[str, Any]:
        """A draft of a job; datasets that the user may not use are left out."""

    def plain(self, user: User) -> dict[str, Any]:
        """The same with what the page must know beside it."""
        return {**self.draft(user), "source": self.key}


@dataclass(frozen=True, kw_only=True)
class JobSource(Source):
    """Another job.

    with_change: with what its failure suggests. weights: ``<attempt>:<step>`` of it to begin with, "" = none.
    """

    job: Job
    with_change: bool = False
    weights: str = ""

    @property
    def key(self) -> str:
        return f"{self.job.pk}:{int(self.with_change)}:{self.weights}"

    @property
    def title(self) -> str:
        return f"#{self.job.pk} {self.job.instance.name}"

    @property
    def cause(self) -> str:  # type: ignore[override]
        found = diagnosis(self.job.instance)
        return found.cause if found is not None else ""

    @property
    def changes(self) -> tuple[tuple[str, Any, Any], ...]:  # type: ignore[override]
        if not self.with_change:
            return ()
        batch = batch_of(self.job)
        taken = {BATCH: batch.rows, ACCUMULATION: batch.accumulation}
        before = {**taken, **self.job.arguments, **self.job.adjusted}
        return tuple((name, before.get(name), now) for name, now in job_remedy(self.job).items())

    def draft(self, user: User) -> dict[str, Any]:
        """The draft that would make this job again."""
        draft = usable(asdict(draft_of_job(self.job)), user=user)
        if self.weights:
            draft["weights_from"] = f"{self.job.pk}:{self.weights}"
        elif not weights_may(user=user, weights=self.job.weights):
            draft["weights_from"] = ""
        if self.changes:
            draft["arguments"] |= self.job.adjusted | {
                name: now for name, _was, now in self.changes
            }
        return {**draft, "parent": self.job.pk}


@dataclass(frozen=True, kw_only=True)
class RecipeSource(Source):
    """A recipe in one version."""

    chosen: Chosen

    @property
    def key(self) -> str:
        return f"recipe:{self.chosen.key}"

    @property
    def title(self) -> str:
        if not self.chosen.number:
            return self.chosen.name
        words = {"name": self.chosen.name, "number": self.chosen.number}
        return _("%(name)s, version %(number)s") % words

    def draft(self, user: User) -> dict[str, Any]:
        """What it says, as far as a job of today can be asked for it."""
        return usable(understood(self.chosen.draft), user=user)

    def plain(self, user: User) -> dict[str, Any]:
        """With the recipe itself where the user may save a next version of it."""
        recipe = self.chosen.recipe
        found = super().plain(user)
        if recipe is not None and access.allowed(user, Action.CHANGE, recipe):
            kept = {"id": recipe.pk, "name": recipe.name, "version": recipe.version}
            found["recipe"] = kept
        return found


@dataclass(frozen=True, kw_only=True)
class ModelSource(Source):
    """A model of the list of models."""

    model: str

    @property
    def key(self) -> str:
        return f"model:{self.model}"[:KEY_MAX_STORED]

    @property
    def title(self) -> str:
        return self.model

    def draft(self, user: User) -> dict[str, Any]:
        """Nothing but the model."""
        return {"model": self.model}


def source_get(*, user: User, asked: Mapping[str, str]) -> Source | None:
    """What an address names: ``from`` (with ``change``, ``weights``), ``recipe`` or ``model``. Raises NotFound."""
    number = number_read(asked.get("from", ""))
    if number is not None:
        return JobSource(
            job=job_get(user=user, job_id=number),
            with_change=asked.get("change") == "1",
            weights=asked.get("weights", "")[:WEIGHTS_MAX],
        )
    if recipe := asked.get("recipe", "")[:KEY_MAX]:
        return RecipeSource(chosen=chosen_get(user=user, key=recipe))
    model = asked.get("model", "").strip()[:MODEL_MAX]
    return ModelSource(model=model) if model.isprintable() and model else None


def understood(draft: Mapping[str, Any]) -> dict[str, Any]:
    """Of a draft that was kept what the API of jobs takes today; what it refuses is left out."""
    given = dict(draft)
    data = JobInput(data=given)
    if not data.is_valid():
        given = {name: one for name, one in given.items() if name not in data.errors}
    return {name: one for name, one in given.items() if name in data.fields}


def usable(draft: dict[str, Any], *, user: User) -> dict[str, Any]:
    """The draft without datasets that are gone, or that the user may not train on."""
    named = {name: _ids(draft[name]) for name in DATASETS if name in draft}
    wanted = {number for ids in named.values() for number in ids}
    rows = Dataset.objects.filter(pk__in=wanted, deleted_at=None)
    own = access.visible(user, rows, action=Action.DOWNLOAD)
    may = set(own.values_list("pk", flat=True)) if wanted else set()
    return {**draft, **{name: [one for one in ids if one in may] for name, ids in named.items()}}


def _ids(value: object) -> list[int]:
    """What of a kept value can be the number of a row."""
    given = value if isinstance(value, list | tuple) else ()
    return [one for one in given if type(one) is int and 0 < one <= ID_MAX]
