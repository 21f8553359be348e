"""What a SWIFT release accepts that another does not: between two catalogues as `swift_catalogue.py` writes them.

Standard library only, nothing is imported from the project.
"""

from collections.abc import Iterable, Mapping
from typing import Any

Plain = dict[str, Any]

# What decides which values an argument takes and what it does without one.
TOLD = ("flags", "type", "choices", "choices_enforced", "default", "required")
NAMES_A_LINE = 12


def changes(old: Plain, new: Plain) -> list[str]:
    """Lines for people: packages, commands and arguments of two ``<version>.json``; empty = none differs.

    An argument that several commands share is told once, with them behind it.
    """
    lines = [
        f"~ package {name}: {old['packages'].get(name)} -> {version}"
        for name, version in new["packages"].items()
        if old["packages"].get(name) != version
    ]
    lines += _named("command", old["commands"], new["commands"])
    by_line: dict[str, list[str]] = {}
    for command in old["commands"].keys() & new["commands"].keys():
        for line in _of_command(_arguments(old, command), _arguments(new, command)):
            by_line.setdefault(line, []).append(command)
    order = list(new["commands"])
    told = [
        f"{line} ({', '.join(sorted(commands, key=order.index))})"
        for line, commands in by_line.items()
    ]
    return lines + sorted(told, key=lambda line: ("+-~".index(line[0]), line))


def model_changes(old: Plain, new: Plain) -> list[str]:
    """The same of two ``<version>.models.json``: model types, chat templates and models."""
    lines = []
    for title, key in (("model type", "model_types"), ("chat template", "templates")):
        lines += _named(title, old[key], new[key])
        both = old[key].keys() & new[key].keys()
        lines += _listed("~", title, (name for name in both if old[key][name] != new[key][name]))
    ids = [{_model_id(row) for row in table["models"]} for table in (old, new)]
    return [
        *lines,
        *_listed("+", "model", ids[1] - ids[0]),
        *_listed("-", "model", ids[0] - ids[1]),
    ]


def _model_id(row: Mapping[str, Any]) -> str:
    return str(row.get("ms") or row.get("hf"))


def _named(title: str, old: Iterable[str], new: Iterable[str]) -> list[str]:
    return [
        *_listed("+", title, set(new) - set(old)),
        *_listed("-", title, set(old) - set(new)),
    ]


def _listed(sign: str, title: str, names: Iterable[str]) -> list[str]:
    """Many names of one kind, some to a line."""
    found = sorted(names)
    return [
        f"{sign} {title}: {', '.join(found[at : at + NAMES_A_LINE])}"
        for at in range(0, len(found), NAMES_A_LINE)
    ]


def _arguments(catalogue: Plain, command: str) -> dict[str, Plain]:
    rows = (catalogue["arguments"][key] for key in catalogue["commands"][command]["arguments"])
    return {row["name"]: row for row in rows}


def _of_command(old: Mapping[str, Plain], new: Mapping[str, Plain]) -> Iterable[str]:
    for name in new.keys() - old.keys():
        yield f"+ --{name}: {new[name]['type']}, default {new[name]['default']!r}"
    for name in old.keys() - new.keys():
        yield f"- --{name}"
    for name in old.keys() & new.keys():
        for key in TOLD:
            was, now = old[name].get(key), new[name].get(key)
            if was != now:
                yield f"~ --{name}, {key}: {_difference(was, now)}"


def _difference(was: Any, now: Any) -> str:
    """Of two lists only what came and went."""
    if not (isinstance(was, list) and isinstance(now, list)):
        return f"{was!r} -> {now!r}"
    came = [f"+{one}" for one in now if one not in was]
    went = [f"-{one}" for one in was if one not in now]
    return " ".join([*came, *went]) or "another order"
