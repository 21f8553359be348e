"""Two configurations beside each other, and what a form can be filled from: past jobs and recipes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import get_language, gettext_lazy
from django.utils.translation import gettext as _

from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.dashboard.explain import value_shown
from loraforge.dashboard.joblines import JobLine, job_lines
from loraforge.dashboard.views import DashboardPage
from loraforge.datasets.selectors import dataset_list
from loraforge.recipes.builtin import Builtin, builtins_load
from loraforge.recipes.comparing import Configuration, Line, configurations_compare
from loraforge.recipes.models import Recipe
from loraforge.recipes.selectors import recipe_list
from loraforge.training.comparing import RECIPE, configuration_get
from loraforge.training.models import Command, NodeLost
from loraforge.training.selectors import job_instances

KEY_MAX = 80
OWN_JOBS = 10  # in the menu of past settings
LISTED = 30  # of each kind, to choose from
DATASETS = frozenset({"datasets", "validation_datasets", "reward_files"})
SECONDS = frozenset({"max_run_s", "save_every_s"})

LABELS: dict[str, Promise] = {
    "command": gettext_lazy("Job type"),
    "model": gettext_lazy("Base model"),
    "model_hub": gettext_lazy("Model hub"),
    "model_type": gettext_lazy("Model type"),
    "template": gettext_lazy("Chat template"),
    "ref_model": gettext_lazy("Reference model"),
    "teacher_model": gettext_lazy("Teacher model"),
    "reward_models": gettext_lazy("Reward models"),
    "reward_files": gettext_lazy("Reward functions"),
    "datasets": gettext_lazy("Training set"),
    "validation_datasets": gettext_lazy("Validation set"),
    "environment": gettext_lazy("Environment variables"),
    "gpus": gettext_lazy("Devices"),
    "processes": gettext_lazy("Processes"),
    "oom_recovery": gettext_lazy("Once more with half the batch"),
    "on_node_lost": gettext_lazy("If the node is lost"),
    "max_run_s": gettext_lazy("Longest run"),
    "save_every_s": gettext_lazy("Saved every"),
}


def recipe_name(builtin: Builtin) -> str:
    """In the language of the request."""
    return builtin.name.told(get_language())


@dataclass(frozen=True, kw_only=True)
class Past:
    """What settings can be taken from, newest first."""

    jobs: list[JobLine]
    recipes: list[Recipe]
    builtins: list[tuple[str, str]]  # id, name


def past_get(*, user: User, only_own: bool) -> Past:
    """The last jobs, only one's own if asked for, and the recipes that the user may see."""
    rows = job_instances(user=user)
    if only_own:
        rows = rows.filter(owner=user)
    return Past(
        jobs=job_lines(rows[: OWN_JOBS if only_own else LISTED]),
        recipes=list(recipe_list(user=user)[:LISTED]),
        builtins=[(one.id, recipe_name(one)) for one in builtins_load()],
    )


@dataclass(frozen=True, kw_only=True)
class ShownLine:
    """A line in words."""

    label: str
    is_argument: bool
    is_same: bool
    left: str
    right: str
    left_is_default: bool
    right_is_default: bool


def _words(name: str, value: Any, datasets: Mapping[int, str]) -> str:
    """A setting's value as people read it."""
    if name in DATASETS and isinstance(value, list | tuple):
        return ", ".join(datasets.get(one) or f"#{one}" for one in value)
    choices: dict[str, Any] = {"command": Command.choices, "on_node_lost": NodeLost.choices}
    if name in choices:
        return str(dict(choices[name]).get(value, value))
    if name in SECONDS and isinstance(value, int):
        return _("%(s)s s") % {"s": value}
    return value_shown(value)


def _shown(line: Line, datasets: Mapping[int, str]) -> ShownLine:
    name = "" if line.is_argument else line.name
    return ShownLine(
        label=f"--{line.name}" if line.is_argument else str(LABELS.get(line.name, line.name)),
        is_argument=line.is_argument,
        is_same=line.is_same,
        left=_words(name, line.left.value, datasets),
        right=_words(name, line.right.value, datasets),
        left_is_default=line.left.is_default,
        right_is_default=line.right.is_default,
    )


def lines_shown(*, user: User, left: Configuration, right: Configuration) -> list[ShownLine]:
    """All lines in words; datasets that the user may not see by their number."""
    wanted = {
        number for one in (left, right) for name in DATASETS for number in one.draft.get(name) or ()
    }
    names = dict(dataset_list(user=user).filter(pk__in=wanted).values_list("pk", "name"))
    return [_shown(line, names) for line in configurations_compare(left, right)]


class JobComparePage(DashboardPage):
    """``?left=41&right=recipe:7:2``: what differs. With one of them or none it asks for the rest."""

    template_name = "dashboard/job_compare.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        asked = {name: self.request.GET.get(name, "")[:KEY_MAX] for name in ("left", "right")}
        found = {
            name: configuration_get(user=self.person, key=key, field=name) if key else None
            for name, key in asked.items()
        }
        left, right = found["left"], found["right"]
        lines: Sequence[ShownLine] = []
        if left is not None and right is not None:
            lines = lines_shown(user=self.person, left=left, right=right)
        shows_all = self.request.GET.get("all") == "1"
        return super().get_context_data(
            left=left,
            right=right,
            shows_all=shows_all,
            differences=sum(not line.is_same for line in lines),
            lines=[line for line in lines if shows_all or not line.is_same],
            past=past_get(user=self.person, only_own=False),
            sides=[("left", _("Left"), left), ("right", _("Right"), right)],
            recipe_prefix=RECIPE,
            **kwargs,
        )


class JobPastPartial(DashboardPage):
    """What the form of a new job can be filled from: one's own last jobs, and recipes."""

    template_name = "dashboard/partials/_past.html"
    needs = Action.CREATE

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(past=past_get(user=self.person, only_own=True), **kwargs)
