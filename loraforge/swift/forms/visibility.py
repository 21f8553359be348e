"""When an argument means something at all: what has no effect is not shown and not sent.

A condition is a list of alternatives; in each, every named argument must have one of the values. "*" is any
value but none, off and empty. ``command`` is the command itself. The values are the given ones, else
SWIFT's defaults. static/js/form/visibility.js judges by the same rules in the page.
"""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from loraforge.swift.argument_help import help_load
from loraforge.swift.catalogue import Command

FILE = Path(__file__).parent / "visibility.json"
COMMAND = "command"
ANY = "*"

Alternative = dict[str, tuple[str | bool | int, ...]]
Condition = tuple[Alternative, ...]


class _Stored(msgspec.Struct, frozen=True):
    sections: dict[str, Condition]
    arguments: dict[str, Condition]


@lru_cache(maxsize=1)
def conditions_load() -> _Stored:
    """Conditions by section and by argument; both must hold."""
    return msgspec.json.decode(FILE.read_bytes(), type=_Stored)


def conditions_of(name: str) -> list[Condition]:
    """The conditions under which an argument means something; none = always."""
    stored = conditions_load()
    told = help_load().get(name)
    found = [stored.sections.get(told.section) if told else None, stored.arguments.get(name)]
    return [one for one in found if one]


def conditions_within(name: str, command: str) -> list[Condition]:
    """The same for one command: what always holds there, and alternatives that never do, are left out."""
    kept = []
    for condition in conditions_of(name):
        possible = [one for one in condition if command in one.get(COMMAND, (command,))]
        if any(set(one) == {COMMAND} for one in possible):
            continue
        kept.append(tuple({key: one[key] for key in one if key != COMMAND} for one in possible))
    return kept


def deciding(command: Command) -> dict[str, object]:
    """Argument that other arguments' conditions ask about -> SWIFT's default."""
    stored = conditions_load()
    names = {
        name
        for condition in (*stored.sections.values(), *stored.arguments.values())
        for alternative in condition
        for name in alternative
    }
    return {name: argument.default for name, argument in command.arguments.items() if name in names}


def is_shown(name: str, *, command: Command, given: Mapping[str, object]) -> bool:
    """Whether the argument has an effect beside those that are given."""
    return all(_holds(condition, command, given) for condition in conditions_of(name))


def without_effect(*, command: Command, given: Mapping[str, object]) -> list[str]:
    """Those of the given arguments that mean nothing beside the others, in SWIFT's order."""
    return [
        name
        for name in command.arguments
        if name in given and not is_shown(name, command=command, given=given)
    ]


def _holds(condition: Condition, command: Command, given: Mapping[str, object]) -> bool:
    return any(
        all(_matches(_value(name, command, given), values) for name, values in alternative.items())
        for alternative in condition
    )


def _value(name: str, command: Command, given: Mapping[str, object]) -> object:
    if name == COMMAND:
        return command.name
    argument = command.argument(name)
    if argument is None:
        return None
    return given.get(name, argument.default)


def _matches(value: object, values: tuple[str | bool | int, ...]) -> bool:
    items = value if isinstance(value, list) else [value]
    if ANY in values and any(item not in (None, False, "") for item in items):
        return True
    return any(type(item) is type(one) and item == one for item in items for one in values)
