"""Whether what is asked of SWIFT can be run: names, types, choices, ranges, reserved arguments.

SWIFT itself finds most of this only after it has loaded a model, takes any unambiguous abbreviation
as a name, and accepts NaN. Nothing here raises for what a user typed: every fault is a `Problem`.
"""

from collections.abc import Iterator, Mapping

import msgspec

from loraforge.swift.cases import Case, JobFacts
from loraforge.swift.catalogue import (
    DEFAULT_VERSION,
    Catalogue,
    Command,
    Value,
    catalogue_load,
)
from loraforge.swift.combinations import combination_problems
from loraforge.swift.forms.environment import environment_check
from loraforge.swift.problems import Problem, problem
from loraforge.swift.reserved import reserved_problem, reserved_reason
from loraforge.swift.values import RefusedError, problem_of, value_read

# Names of older releases (compared by source: 3.12.6 -> 4.6.0).
RENAMED = {
    "train_type": "tuner_type",
    "sft_type": "tuner_type",
    "ckpt_dir": "adapters",
    "lora_modules": "adapters",
    "mcore_adapters": "mcore_adapter",
    "eval_human": "val_dataset",
    "model_id_or_path": "model",
    "batch_size": "per_device_train_batch_size",
    "lr": "learning_rate",
    "epochs": "num_train_epochs",
}
DATASET_ARGUMENTS = frozenset(
    {"dataset", "val_dataset", "cached_dataset", "cached_val_dataset", "chord_sft_dataset"}
)


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a set of arguments.

    arguments: full name -> value in SWIFT's type, in the catalogue's order, only what was given and
    is right. problems: errors and warnings, the errors first.
    """

    command: str
    arguments: dict[str, Value]
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(one for one in self.problems if one.level == "error")

    @property
    def warnings(self) -> tuple[Problem, ...]:
        return tuple(one for one in self.problems if one.level == "warning")

    @property
    def is_valid(self) -> bool:
        return not self.errors


def arguments_check(
    command: str,
    arguments: Mapping[str, object],
    *,
    facts: JobFacts | None = None,
    version: str = DEFAULT_VERSION,
) -> Checked:
    """Judge what was given for a command of SWIFT.

    arguments: name (with or without dashes in front, `-` or `_` inside) -> value, as JSON or as the
    text of a form; None and blank texts count as not given. facts: what is known of the job beside
    its arguments; without them, nothing about model, dataset and devices is judged. Raises only
    CatalogueMissingError.
    """
    catalogue = catalogue_load(version)
    known = catalogue.commands.get(command)
    if known is None:
        choices = ", ".join(catalogue.commands)
        refused = problem("command", "command_unknown", value=command, choices=choices)
        return Checked(command=command, arguments={}, problems=(refused,))
    values, problems = _read_all(catalogue, known, arguments)
    ordered = {name: values[name] for name in known.arguments if name in values}
    case = Case(command=known, given=ordered, facts=facts, models_version=version)
    problems.extend(combination_problems(case))
    problems.sort(key=lambda one: one.level != "error")
    return Checked(command=command, arguments=ordered, problems=tuple(problems))


def _read_all(
    catalogue: Catalogue, command: Command, arguments: Mapping[str, object]
) -> tuple[dict[str, Value], list[Problem]]:
    values: dict[str, Value] = {}
    problems: list[Problem] = []
    for spelling, raw in arguments.items():
        typed = spelling.removeprefix("--")
        name, is_negative = command.names_by_flag.get(typed, (None, False))
        if name is None:
            problems.append(_unknown(command, typed, catalogue.swift_version))
            continue
        found = list(_read_one(catalogue, command, name, raw, typed if is_negative else ""))
        problems.extend(one for one in found if isinstance(one, Problem))
        for value in (one for one in found if not isinstance(one, Problem)):
            if name in values:
                problems.append(problem(name, "argument_twice"))
            values[name] = value
    return values, problems


def _read_one(
    catalogue: Catalogue, command: Command, name: str, raw: object, negative: str
) -> Iterator[Value | Problem]:
    """The value, or what is wrong with it; nothing when it is not given."""
    if raw is None:
        return
    argument = command.arguments[name]
    reason = reserved_reason(name, command.name)
    if reason is not None:
        yield reserved_problem(argument.name, reason)
        return
    if negative:
        is_plain = raw is True or raw in ("", "true")
        refused = problem(negative, "negative_value", positive=argument.name)
        yield False if is_plain else refused
        return
    try:
        value = value_read(argument, raw, catalogue=catalogue)
    except RefusedError as refusal:
        yield problem_of(argument, refusal)
        return
    if value is None:
        return
    refusals = [*_path_problems(argument.name, value), *_variable_problems(argument.name, value)]
    yield from refusals or [value]


def _variable_problems(name: str, value: Value) -> Iterator[Value | Problem]:
    """SWIFT makes each key of --model_kwargs a variable of its own process (base_args.py, `_init_model_kwargs`)."""
    if name == "model_kwargs" and isinstance(value, dict):
        _given, wrong = environment_check({str(key).upper(): one for key, one in value.items()})
        yield from (msgspec.structs.replace(one, field=name) for one in wrong)


def _path_problems(name: str, value: Value) -> Iterator[Value | Problem]:
    """A dataset on a node is one that was uploaded; only remote ones are named here."""
    if name not in DATASET_ARGUMENTS or not isinstance(value, list):
        return
    for item in map(str, value):
        place = item.split("::", 1)[-1]
        if place.startswith(("/", ".", "~", "\\")) or ".." in place.split("/"):
            yield problem(name, "dataset_path", value=item)


def _unknown(command: Command, typed: str, version: str) -> Problem:
    name = typed.replace("-", "_")
    renamed = RENAMED.get(name)
    if renamed in command.arguments:
        return problem(typed, "argument_renamed", suggestion=renamed, version=version)
    meant = command.closest(typed)
    if meant is None:
        return problem(typed, "argument_unknown")
    is_abbreviated = meant.name.startswith(name)
    reason = "argument_abbreviated" if is_abbreviated else "argument_similar"
    return problem(typed, reason, suggestion=meant.name)
