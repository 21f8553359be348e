"""The arguments of SWIFT's commands, as written down by `tools/swift_catalogue.py`.

Nothing is read before the first call; a catalogue is then kept for the life of the process.
"""

import difflib
from collections.abc import Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Literal

import msgspec

FOLDER = Path(__file__).parent / "catalogues"
DEFAULT_VERSION = "4.6.0"

Kind = Literal[
    "bool", "int", "float", "str", "choice", "json", "list_int", "list_float", "list_str"
]
Value = bool | int | float | str | list[int | float | str] | dict[str, object]


class CatalogueMissingError(LookupError):
    """There is no catalogue of this SWIFT release."""


class Argument(msgspec.Struct, frozen=True, kw_only=True):
    """One argument of a command.

    flags: every spelling that SWIFT takes (`--max_length`, `--max-length`).
    negative_flags: spellings that mean false (`--no_strict`), only where the default is true.
    type: the annotation in SWIFT's source; kind: how a value is entered and checked.
    choices: the values meant; choices_enforced: SWIFT itself refuses all others.
    optional: no value at all is legal. group: the dataclass of SWIFT that defines it.
    nargs: as in argparse: None = one value, "?" = at most one, "+" = one or more.
    """

    name: str
    flags: tuple[str, ...]
    type: str
    kind: Kind
    choices: tuple[str | int, ...] | None
    choices_enforced: bool
    default: bool | int | float | str | list[object] | dict[str, object] | None
    required: bool
    optional: bool
    group: str
    nargs: Literal["?", "+"] | None
    negative_flags: tuple[str, ...] = ()

    @property
    def is_list(self) -> bool:
        return self.nargs == "+"


class Command(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """One command of SWIFT, its module for `python -m`, and its arguments in SWIFT's order."""

    name: str
    module: str
    groups: tuple[str, ...]
    arguments: dict[str, Argument]

    @cached_property
    def names_by_flag(self) -> Mapping[str, tuple[str, bool]]:
        """Spelling without dashes in front -> (argument name, is negative)."""
        spellings: dict[str, tuple[str, bool]] = {}
        for argument in self.arguments.values():
            for flag in argument.flags:
                spellings[flag.removeprefix("--")] = (argument.name, False)
            for flag in argument.negative_flags:
                spellings[flag.removeprefix("--")] = (argument.name, True)
        return spellings

    def argument(self, name: str) -> Argument | None:
        """The argument of exactly this name; None when there is none."""
        return self.arguments.get(name)

    def closest(self, name: str) -> Argument | None:
        """The argument that was probably meant: one that begins so, else the most similar."""
        wanted = name.replace("-", "_")
        starting = [known for known in self.arguments if wanted and known.startswith(wanted)]
        similar = starting or difflib.get_close_matches(wanted, self.arguments, n=1, cutoff=0.6)
        return self.arguments[min(similar, key=len)] if similar else None

    def search(self, query: str) -> list[Argument]:
        """Arguments whose name, group or choices hold every word of the query, in SWIFT's order."""
        words = query.lower().replace("-", "_").split()
        return [
            argument
            for argument in self.arguments.values()
            if all(word in _haystack(argument) for word in words)
        ]


class Catalogue(msgspec.Struct, frozen=True, kw_only=True):
    """All commands of one SWIFT release, the packages it was read with, and legal plugin names."""

    swift_version: str
    packages: dict[str, str]
    registries: dict[str, tuple[str, ...]]
    commands: dict[str, Command]

    def suggestions(self, argument: Argument) -> tuple[str | int, ...]:
        """Values to offer in a list: the choices, else the registered names, else nothing."""
        return argument.choices or self.registries.get(argument.name, ())


class _StoredCommand(msgspec.Struct, frozen=True):
    module: str
    groups: tuple[str, ...]
    arguments: tuple[str, ...]


class _Stored(msgspec.Struct, frozen=True):
    """The file's shape: arguments that commands share are stored once, under an id."""

    swift_version: str
    packages: dict[str, str]
    registries: dict[str, tuple[str, ...]]
    commands: dict[str, _StoredCommand]
    arguments: dict[str, Argument]


def catalogue_versions() -> list[str]:
    """The SWIFT releases there is a catalogue of, oldest name first."""
    names = [path.name.removesuffix(".models.json") for path in FOLDER.glob("*.models.json")]
    return sorted(names)


def catalogue_bytes(version: str, suffix: str) -> bytes:
    """The text of a committed catalogue file. Raises CatalogueMissingError."""
    if version not in catalogue_versions():
        message = f"There is no catalogue of SWIFT {version}"
        raise CatalogueMissingError(message)
    return (FOLDER / f"{version}{suffix}").read_bytes()


@lru_cache(maxsize=4)
def catalogue_load(version: str = DEFAULT_VERSION) -> Catalogue:
    """The catalogue of a SWIFT release. Raises CatalogueMissingError."""
    stored = msgspec.json.decode(catalogue_bytes(version, ".json"), type=_Stored)
    return Catalogue(
        swift_version=stored.swift_version,
        packages=stored.packages,
        registries=stored.registries,
        commands={
            name: Command(
                name=name,
                module=command.module,
                groups=command.groups,
                arguments={
                    stored.arguments[key].name: stored.arguments[key] for key in command.arguments
                },
            )
            for name, command in stored.commands.items()
        },
    )


def _haystack(argument: Argument) -> str:
    return " ".join([argument.name, argument.group, *map(str, argument.choices or ())]).lower()
