"""Two configurations beside each other. Pure: drafts and SWIFT's catalogue, no database.

An argument that one side leaves out has SWIFT's default there, so that a value set to the default does not differ
from one that was left out.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loraforge.swift.catalogue import DEFAULT_VERSION, Command, catalogue_load

# What of a draft is compared beside its arguments, in the order of the form.
SETTINGS = (
    *("command", "model", "model_hub", "model_type", "template"),
    *("ref_model", "teacher_model", "reward_models", "reward_files"),
    *("datasets", "validation_datasets", "environment"),
    *("gpus", "processes", "oom_recovery", "on_node_lost", "max_run_s", "save_every_s"),
)
# What a draft means by leaving a setting out; nothing stands for None.
_LEFT_OUT = {"gpus": 1, "processes": 1, "on_node_lost": "wait"}


@dataclass(frozen=True, kw_only=True)
class Configuration:
    """What a job or a recipe says, whatever it is. draft: as `contents` has it."""

    key: str
    label: str
    draft: Mapping[str, Any]
    catalogue_version: str = DEFAULT_VERSION

    @property
    def command(self) -> Command | None:
        """As its own release of SWIFT has it; None where that is not kept."""
        version = self.catalogue_version or DEFAULT_VERSION
        return catalogue_load(version).commands.get(str(self.draft.get("command")))

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Those that were set."""
        found: Mapping[str, Any] = self.draft.get("arguments") or {}
        return found

    def default(self, name: str) -> Any:
        """What SWIFT takes for an argument that is left out."""
        argument = self.command.argument(name) if self.command else None
        return argument.default if argument else None

    def setting(self, name: str) -> Any:
        """A setting that is no argument; None for nothing, in whatever way that is written."""
        value = self.draft.get(name)
        is_nothing = value in (None, "", [], (), {}, False, 0) and name != "save_every_s"
        return _LEFT_OUT.get(name) if is_nothing else value


@dataclass(frozen=True, kw_only=True)
class Side:
    """One value. is_default: it was left out there, so this is what holds by default."""

    value: Any
    is_default: bool


@dataclass(frozen=True, kw_only=True)
class Line:
    """An argument, or a setting of the form, on both sides."""

    name: str
    is_argument: bool
    left: Side
    right: Side

    @property
    def is_same(self) -> bool:
        """True when both mean the same."""
        return bool(_alike(self.left.value) == _alike(self.right.value))


def _alike(value: Any) -> Any:
    """The same for what means the same: 1 and 1.0, a tuple and a list; true is not 1."""
    if isinstance(value, bool) or value is None:
        return (type(value).__name__, value)
    if isinstance(value, list | tuple):
        return [_alike(one) for one in value]
    if isinstance(value, Mapping):
        return {key: _alike(one) for key, one in value.items()}
    return float(value) if isinstance(value, int) and abs(value) < 2**53 else value


def configurations_compare(left: Configuration, right: Configuration) -> list[Line]:
    """Every setting and every argument that one of them sets: settings first, arguments in SWIFT's order."""
    return [*_settings(left, right), *_arguments(left, right)]


def _settings(left: Configuration, right: Configuration) -> list[Line]:
    found = []
    for name in SETTINGS:
        sides = [
            Side(value=one.setting(name), is_default=one.setting(name) == _LEFT_OUT.get(name))
            for one in (left, right)
        ]
        if not all(side.value is None for side in sides):
            found.append(Line(name=name, is_argument=False, left=sides[0], right=sides[1]))
    return found


def _side(one: Configuration, name: str) -> Side:
    if name in one.arguments:
        return Side(value=one.arguments[name], is_default=False)
    return Side(value=one.default(name), is_default=True)


def _arguments(left: Configuration, right: Configuration) -> list[Line]:
    set_names = {*left.arguments, *right.arguments}
    orders = [command.arguments for command in (left.command, right.command) if command]
    known = [name for order in orders for name in order if name in set_names]
    names = dict.fromkeys([*known, *sorted(set_names)])
    return [
        Line(name=name, is_argument=True, left=_side(left, name), right=_side(right, name))
        for name in names
    ]
