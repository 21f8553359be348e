"""The modules of the form and the fields that each shows first."""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from loraforge.swift.argument_help import Words
from loraforge.swift.catalogue import DEFAULT_VERSION, Argument, Command, Value, catalogue_load
from loraforge.swift.reserved import reserved_reason
from loraforge.swift.values import RANGES

FOLDER = Path(__file__).parent


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """How an argument looks on a first screen.

    options: (value, what people read), where not all of the catalogue's choices are offered, or under
    other names. empty: what is said where nothing is chosen; None = SWIFT's default.
    """

    label: Words
    hint: Words | None = None
    options: tuple[tuple[str, str], ...] = ()
    empty: Words | None = None


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Fields that stand together.

    models: arguments that name a model beside the base model, which the platform brings to the job.
    files: uploaded code can be chosen here.
    """

    title: Words | None = None
    fields: tuple[str, ...]
    models: tuple[str, ...] = ()
    files: bool = False


class Module(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of work, as people choose it first.

    fixed: arguments that make the module what it is. groups: in the order of the page. rows: whether
    it takes a dataset. source: whether it works on what another job has made.
    """

    id: str
    command: str
    title: Words
    groups: tuple[str, ...]
    fixed: dict[str, Value] = {}
    rows: bool = True
    source: bool = False


@lru_cache(maxsize=1)
def modules_load() -> Mapping[str, Module]:
    """Module id -> module, in the order of the page."""
    stored = msgspec.json.decode((FOLDER / "modules.json").read_bytes(), type=tuple[Module, ...])
    return {module.id: module for module in stored}


@lru_cache(maxsize=1)
def groups_load() -> Mapping[str, Group]:
    """Group id -> group."""
    return msgspec.json.decode((FOLDER / "groups.json").read_bytes(), type=dict[str, Group])


@lru_cache(maxsize=1)
def fields_load() -> Mapping[str, Field]:
    """Argument name -> its field."""
    return msgspec.json.decode((FOLDER / "fields.json").read_bytes(), type=dict[str, Field])


def module_of(command: str, arguments: Mapping[str, object]) -> Module | None:
    """The module whose form a set of arguments belongs into; None where no module has the command."""
    fitting = [
        module
        for module in modules_load().values()
        if module.command == command
        and all(arguments.get(name) == value for name, value in module.fixed.items())
    ]
    return max(fitting, key=lambda one: len(one.fixed), default=None)


def command_of(module: Module, *, version: str = DEFAULT_VERSION) -> Command:
    """What SWIFT knows of the module's command."""
    return catalogue_load(version).commands[module.command]


def fields_of(group: Group, command: Command) -> list[tuple[Argument, Field]]:
    """The fields of a group that the command has and that are the user's to set.

    What a newer or older SWIFT does not know, and what belongs to the platform, is left out.
    """
    known = ((command.argument(name), fields_load()[name]) for name in group.fields)
    return [
        (argument, field)
        for argument, field in known
        if argument is not None and reserved_reason(argument.name, command.name) is None
    ]


def first_screen(module: Module, *, version: str = DEFAULT_VERSION) -> list[str]:
    """Arguments with a field on the module's first screen."""
    command = command_of(module, version=version)
    groups: Iterable[Group] = (groups_load()[name] for name in module.groups)
    return [argument.name for group in groups for argument, _ in fields_of(group, command)]


def range_of(name: str) -> str:
    """The numbers that an argument takes, as people read it ("≥ 1"); "" where none are refused."""
    return str(RANGES[name]) if name in RANGES else ""
