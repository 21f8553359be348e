"""Write down what the installed SWIFT accepts: arguments, models, templates and names of plugins.

Run with the training environment's Python (it imports SWIFT):

    .venv-swift/bin/python tools/swift_catalogue.py [--check] [--folder FOLDER]

It writes ``<version>.json`` and ``<version>.models.json``; ``--check`` writes nothing and exits 1
when a file there differs. The truth is the parser that SWIFT itself builds
(``swift.utils.utils.parse_args``: HfArgumentParser over one dataclass per command) and its
registries. The same SWIFT gives the same bytes on every machine.
"""

import argparse
import dataclasses
import enum
import importlib
import importlib.metadata
import inspect
import json
import sys
import types
import typing
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

TODAY = datetime.now().astimezone().date()  # as SWIFT takes it, by the machine's own zone
FOLDER = Path(__file__).resolve().parent.parent / "loraforge" / "swift" / "catalogues"
VERSIONS_OF = (
    "accelerate",
    "datasets",
    "modelscope",
    "ms-swift",
    "peft",
    "torch",
    "transformers",
    "trl",
)
COMMANDS = {
    "sft": "SftArguments",
    "pt": "PretrainArguments",
    "rlhf": "RLHFArguments",
    "infer": "InferArguments",
    "deploy": "DeployArguments",
    "rollout": "RolloutArguments",
    "export": "ExportArguments",
    "merge-lora": "ExportArguments",
    "eval": "EvalArguments",
    "sample": "SamplingArguments",
    "app": "AppArguments",
    "web-ui": "WebUIArguments",
}

Row = dict[str, Any]


def _load(module: str, attribute: str) -> Any:
    return getattr(importlib.import_module(module), attribute)


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, types.UnionType)


def type_name(hint: Any) -> str:
    """The annotation as a person would write it, without module paths."""
    if hint is type(None):
        return "None"
    if get_origin(hint) is Literal:
        return f"Literal[{', '.join(repr(value) for value in get_args(hint))}]"
    members = get_args(hint)
    if _is_union(hint):
        others = [member for member in members if member is not type(None)]
        if len(others) == 1 and members == (*others, type(None)):
            return f"Optional[{type_name(others[0])}]"
        return f"Union[{', '.join(type_name(member) for member in members)}]"
    if members:
        name = getattr(get_origin(hint), "__name__", str(get_origin(hint)))
        return f"{name}[{', '.join(type_name(member) for member in members)}]"
    return str(getattr(hint, "__name__", hint))


def _is_none_allowed(hint: Any) -> bool:
    if get_origin(hint) is Literal:
        return None in get_args(hint)
    return hint is type(None) or (_is_union(hint) and any(map(_is_none_allowed, get_args(hint))))


def _enum_members(hint: Any) -> list[Any]:
    if get_origin(hint) is Literal:
        return [value for value in get_args(hint) if not isinstance(value, bool | None)]
    if inspect.isclass(hint) and issubclass(hint, enum.Enum):
        return [member.value for member in hint]
    return [value for member in get_args(hint) for value in _enum_members(member)]


def kind_of(hint: Any, *, nargs: str | None, choices: list[Any] | None) -> str:
    """How a value is entered and checked: see `Kind` in loraforge/swift/catalogue.py."""
    members = [
        member
        for member in (get_args(hint) if _is_union(hint) else (hint,))
        if member is not type(None)
    ]
    if nargs == "+":
        inner = next((get_args(member)[0] for member in members if get_origin(member) is list), str)
        return f"list_{inner.__name__}" if inner in (int, float) else "list_str"
    if any(member is dict or get_origin(member) is dict for member in members):
        return "json"
    if choices:
        return "choice"
    if nargs == "?":  # HfArgumentParser makes a flag of it, also of Union[str, bool]
        return "bool"
    for plain in (bool, int, float):
        if members == [plain]:
            return plain.__name__
    return "str"


def plain_value(value: Any) -> Any:
    """A default as JSON. Anything else is an error, so that no address or path slips in by repr."""
    if isinstance(value, enum.Enum):
        return value.value
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, list | tuple):
        return [plain_value(item) for item in value]
    if isinstance(value, dict):
        return {str(key): plain_value(item) for key, item in value.items()}
    raise TypeError(f"A default that JSON cannot hold: {value!r}")


def type_hints(cls: type) -> dict[str, Any]:
    """Annotations as classes, read apart because HfArgumentParser overwrites `field.type`."""
    hints: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        module = vars(sys.modules[base.__module__])
        for name, hint in vars(base).get("__annotations__", {}).items():
            hints[name] = hint
            if isinstance(hint, str):
                names = {**vars(typing), **module}
                hints[name] = typing.get_type_hints(
                    types.SimpleNamespace(__annotations__={name: hint}), names
                )[name]
    return hints


def _field_default(field: dataclasses.Field[Any]) -> Any:
    if field.default is not dataclasses.MISSING:
        return plain_value(field.default)
    if field.default_factory is not dataclasses.MISSING:
        return plain_value(field.default_factory())
    return None


def _group(cls: type, name: str) -> str:
    """The dataclass that defines the argument as this command sees it."""
    return next(
        base.__name__ for base in cls.__mro__ if name in vars(base).get("__annotations__", {})
    )


def argument_rows(cls: type) -> list[Row]:
    """Every argument of one command, in the order of the parser that SWIFT builds."""
    parser_class = _load("transformers", "HfArgumentParser")
    with _load("swift.utils.utils", "_patch_get_type_hints")():
        parser = parser_class([cls])
    hints = type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    rows: dict[str, Row] = {}
    for action in parser._actions:  # noqa: SLF001 - argparse has no public list of its arguments
        if action.dest == "help":
            continue
        if action.dest in rows:  # `--no_x`, added for every bool that is true by default
            rows[action.dest]["negative_flags"] = list(action.option_strings)
            continue
        hint = hints[action.dest]
        choices = _enum_members(hint) or None
        if action.choices is not None:
            choices = [plain_value(value) for value in action.choices if value is not None]
        rows[action.dest] = {
            "name": action.dest,
            "flags": list(action.option_strings),
            "type": type_name(hint),
            "kind": kind_of(hint, nargs=action.nargs, choices=choices),
            "choices": choices,
            "choices_enforced": action.choices is not None,
            "default": _field_default(fields[action.dest]),
            "required": bool(action.required),
            "optional": _is_none_allowed(hint) or fields[action.dest].default is None,
            "group": _group(cls, action.dest),
            "nargs": action.nargs,
        }
    return list(rows.values())


def command_tables() -> tuple[dict[str, Row], dict[str, Row]]:
    """(commands, arguments): a command lists ids; what commands share is stored once."""
    routes = _load("swift.cli.main", "ROUTE_MAPPING")
    if sorted(routes) != sorted(COMMANDS):
        raise RuntimeError(f"SWIFT's commands changed: {sorted(routes)}")
    commands: dict[str, Row] = {}
    arguments: dict[str, Row] = {}
    for command, class_name in COMMANDS.items():
        cls = _load("swift.arguments", class_name)
        ids = [_stored_id(arguments, row) for row in argument_rows(cls)]
        bases: tuple[type, ...] = cls.__mro__
        groups = [base.__name__ for base in bases if hasattr(base, "__dataclass_fields__")]
        groups = list(dict.fromkeys(groups))
        commands[command] = {
            "module": routes[command],
            "class": class_name,
            "groups": groups,
            "arguments": ids,
        }
    return commands, dict(sorted(arguments.items()))


def _stored_id(arguments: dict[str, Row], row: Row) -> str:
    """The id of an equal row, else of the row just stored: `name`, `name#2` and so on."""
    number = 1
    while True:
        key = row["name"] if number == 1 else f"{row['name']}#{number}"
        if arguments.setdefault(key, row) == row:
            return key
        number += 1


def registries() -> dict[str, list[str]]:
    """Legal values of plain string arguments, by argument name where one takes them."""

    def keys(module: str, attribute: str) -> list[str]:
        return sorted(map(str, _load(module, attribute)))

    def values(module: str, attribute: str) -> list[str]:
        return [member.value for member in _load(module, attribute)]

    return {
        "agent_template": keys("swift.agent_template", "agent_template_map"),
        "callbacks": keys("swift.callbacks", "callbacks_map"),
        "deepspeed": ["zero0", "zero1", "zero2", "zero3", "zero2_offload", "zero3_offload"],
        "eval_metric": keys("swift.metrics", "eval_metrics_map"),
        "fsdp": ["fsdp2"],
        "loss_scale": sorted(
            {
                *keys("swift.loss_scale", "ALL_BASE_STRATEGY"),
                *keys("swift.loss_scale", "loss_scale_map"),
            }
        ),
        "loss_type": keys("swift.loss", "loss_map"),
        "lr_scheduler_type": values("transformers.trainer_utils", "SchedulerType"),
        "model_type": keys("swift.model", "MODEL_MAPPING"),
        "multi_turn_scheduler": keys("swift.rollout", "multi_turns"),
        "optim": values("transformers.training_args", "OptimizerNames"),
        "optimizer": keys("swift.optimizers", "optimizers_map"),
        "prm_model": keys("swift.rewards", "prms"),
        "report_to": [*keys("transformers.integrations", "INTEGRATION_TO_CALLBACK"), "all", "none"],
        "reward_funcs": keys("swift.rewards", "orms"),
        "reward_model_plugin": keys("swift.rewards", "rm_plugins"),
        "template": keys("swift.template", "TEMPLATE_MAPPING"),
        "tuner_type": sorted(_load("swift.arguments", "get_supported_tuners")()),
    }


def model_type_rows() -> dict[str, Row]:
    """Model types in SWIFT's own order (it takes the first match)."""
    return {
        model_type: {
            "template": meta.template,
            "candidate_templates": list(meta.candidate_templates),
            "architectures": [name for name in meta.architectures if name != "null"],
            "is_multimodal": bool(meta.is_multimodal),
            "is_reward": bool(meta.is_reward),
            "task_type": meta.task_type,
            "model_arch": getattr(meta.model_arch, "arch_name", meta.model_arch),
            "requires": list(meta.requires),
            "tags": list(meta.tags),
        }
        for model_type, meta in _load("swift.model", "MODEL_MAPPING").items()
    }


def model_rows() -> list[Row]:
    """One row for each model that SWIFT lists, with its group's number inside its model type."""
    rows = []
    for model_type, meta in _load("swift.model", "MODEL_MAPPING").items():
        for number, group in enumerate(meta.model_groups):
            for model in group.models:
                row = {
                    "ms": model.ms_model_id,
                    "hf": model.hf_model_id,
                    "path": model.model_path,
                    "type": model_type,
                    "group": number,
                    "template": group.template or meta.template,
                    "tags": list(group.tags or meta.tags),
                }
                rows.append({key: value for key, value in row.items() if value not in (None, [])})
    return rows


def _undated(text: Any) -> Any:
    """Mistral's system prompts name the day on which SWIFT was imported; the catalogue is of no day."""
    for day, name in ((TODAY, "{today}"), (TODAY - timedelta(days=1), "{yesterday}")):
        text = text.replace(day.isoformat(), name) if isinstance(text, str) else text
    return text


def template_rows() -> dict[str, Row]:
    """Chat templates: the system prompt used when none is given, and whether it thinks aloud."""
    return {
        str(name): {
            "default_system": _undated(meta.default_system),
            "is_thinking": bool(meta.is_thinking),
            "agent_template": meta.agent_template,
        }
        for name, meta in sorted(_load("swift.template", "TEMPLATE_MAPPING").items())
    }


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _lines(table: dict[str, Any] | list[Any]) -> str:
    """A JSON table with one entry a line, so that a new SWIFT shows as a readable diff."""
    if isinstance(table, list):
        return "[\n" + ",\n".join(map(_json, table)) + "\n]"
    return (
        "{\n" + ",\n".join(f"{_json(key)}: {_json(value)}" for key, value in table.items()) + "\n}"
    )


def document(parts: Iterable[tuple[str, Any]]) -> str:
    """A JSON object whose tables are written one entry a line."""
    written = (
        f"{_json(key)}: {_lines(part) if isinstance(part, dict | list) else _json(part)}"
        for key, part in parts
    )
    return "{\n" + ",\n".join(written) + "\n}\n"


def catalogue_texts() -> dict[str, str]:
    """File name -> text, for the installed SWIFT."""
    version = _load("swift", "__version__")
    packages = {name: importlib.metadata.version(name).partition("+")[0] for name in VERSIONS_OF}
    commands, arguments = command_tables()
    head = [("swift_version", version), ("packages", packages)]
    tables = [("registries", registries()), ("commands", commands), ("arguments", arguments)]
    models = [
        ("model_types", model_type_rows()),
        ("templates", template_rows()),
        ("models", model_rows()),
    ]
    return {
        f"{version}.json": document([*head, *tables]),
        f"{version}.models.json": document([head[0], *models]),
    }


def differing(folder: Path, texts: dict[str, str]) -> list[str]:
    """Names of the files that are missing or not equal to what the installed SWIFT says."""
    return [
        name
        for name, text in texts.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 when a file differs"
    )
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    texts = catalogue_texts()
    changed = differing(options.folder, texts)
    if options.check:
        for name in changed:
            sys.stderr.write(
                f"{name} is not what the installed SWIFT says: run `make catalogue`.\n"
            )
        return 1 if changed else 0
    options.folder.mkdir(parents=True, exist_ok=True)
    for name in changed:
        (options.folder / name).write_text(texts[name], encoding="utf-8")
        sys.stdout.write(f"wrote {name}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
