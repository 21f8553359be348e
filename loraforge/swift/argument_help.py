"""What SWIFT's arguments are for, in our own words and in both languages, and the section where each stands.

The texts are data: `help/sections.json` names the sections in the order of a form, `help/<section>.json`
has the arguments of one in the order in which people look at them. An argument stands in exactly one
section, whatever the command. Nothing is read before the first call; it is then kept for the life of
the process.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path

import msgspec

from loraforge.swift.catalogue import Argument, Command

FOLDER = Path(__file__).parent / "help"
SECTIONS_FILE = "sections.json"


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """One text in both languages."""

    en: str
    zh: str

    def told(self, language: str | None) -> str:
        """In this language (`zh-hans`, `en`): Chinese for any kind of it, else English."""
        return self.zh if (language or "").startswith("zh") else self.en


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a form."""

    id: str
    title: Words


class ArgumentHelp(msgspec.Struct, frozen=True, kw_only=True):
    """What an argument is for, and the id of its section."""

    section: str
    words: Words


@lru_cache(maxsize=1)
def sections_load() -> tuple[Section, ...]:
    """All sections in the order of a form."""
    stored = (FOLDER / SECTIONS_FILE).read_bytes()
    return msgspec.json.decode(stored, type=tuple[Section, ...])


@lru_cache(maxsize=1)
def help_load() -> Mapping[str, ArgumentHelp]:
    """Argument name -> its help, in the order of a form. Raises ValueError for one that stands twice."""
    found: dict[str, ArgumentHelp] = {}
    for section in sections_load():
        stored = (FOLDER / f"{section.id}.json").read_bytes()
        for name, words in msgspec.json.decode(stored, type=dict[str, Words]).items():
            if name in found:
                message = f"{name} stands in {found[name].section} and in {section.id}"
                raise ValueError(message)
            found[name] = ArgumentHelp(section=section.id, words=words)
    return found


def sections_of(arguments: Iterable[Argument]) -> list[tuple[Section, list[str]]]:
    """The sections that hold any of these arguments, with their names, in the order of a form."""
    wanted = {argument.name for argument in arguments}
    names: dict[str, list[str]] = {}
    for name, told in help_load().items():
        if name in wanted:
            names.setdefault(told.section, []).append(name)
    return [(section, names[section.id]) for section in sections_load() if section.id in names]


def arguments_search(command: Command, query: str, language: str | None) -> list[Argument]:
    """Arguments that hold every word of the query, in SWIFT's order.

    First those that are found by name, group or choices; then those whose help, in this language,
    has the words.
    """
    named = command.search(query.strip().removeprefix("--"))
    seen = {argument.name for argument in named}
    words = query.lower().split()
    told = help_load()
    return named + [
        argument
        for argument in command.arguments.values()
        if argument.name not in seen
        and all(word in told[argument.name].words.told(language).lower() for word in words)
    ]
