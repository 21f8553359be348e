"""A pasted `swift ...` command line or configuration file, as the fields of a form.

What is right is taken; what belongs to the platform, is unknown or wrong is named with its reason and left
out. Paths mean nothing here: files are uploaded, and whoever knows the user's datasets finds them by name.
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath

import msgspec

from loraforge.swift.catalogue import DEFAULT_VERSION, Command, Value, catalogue_load
from loraforge.swift.forms.environment import environment_check, variables_load
from loraforge.swift.forms.files import UnreadableError, file_read
from loraforge.swift.forms.modules import modules_load
from loraforge.swift.forms.words import CommandLine, command_line_read
from loraforge.swift.problems import Problem, problem
from loraforge.swift.rules import RENAMED, arguments_check
from nodeagent.contract import paths

NAMES_MOST = 100  # of datasets or models in one place
LONGEST_TEXT = 200_000  # characters; a config file with a long system prompt is far below
PROBLEMS_SHOWN = 60
PROCESSES_MOST = 64
PLATFORM_ROOT = f"{PurePosixPath(paths.MODEL).parent}/"
OWN_TEXTS = ("model", "model_type", "template")
DATASETS = {"dataset": "datasets", "val_dataset": "validation_datasets"}
MODELS = ("ref_model", "teacher_model")
# Names of a file that this platform writes itself, beside SWIFT's.
_WRAPPED = "arguments"
_HEADER = re.compile(r"^# SWIFT [\w.]+: swift ([a-z_-]+)", re.MULTILINE)
_DEVICES = ("CUDA_VISIBLE_DEVICES", "ASCEND_RT_VISIBLE_DEVICES")
_PLACEHOLDER = re.compile(r"\$[A-Za-z_{(]")


class Pasted(msgspec.Struct, frozen=True, kw_only=True):
    """What a text holds, by the fields of a draft.

    datasets, validation_datasets: names as they stand in the text, remote ids and paths alike. reward_models,
    ref_model, teacher_model: models beside the base model. processes, gpus: None = not said. problems: what was
    left out, and why; warnings: what was taken otherwise than it stands there.
    """

    command: str
    arguments: dict[str, Value] = {}
    model: str = ""
    model_type: str = ""
    template: str = ""
    datasets: tuple[str, ...] = ()
    validation_datasets: tuple[str, ...] = ()
    ref_model: str = ""
    teacher_model: str = ""
    reward_models: tuple[str, ...] = ()
    environment: dict[str, str] = {}
    processes: int | None = None
    gpus: int | None = None
    problems: tuple[Problem, ...] = ()


class _Found(msgspec.Struct):
    """What was read so far."""

    command: str
    raw: dict[str, object] = {}
    environment: dict[str, object] = {}
    problems: list[Problem] = []


def text_parse(text: str, *, command: str = "sft", version: str = DEFAULT_VERSION) -> Pasted:
    """Read a command line, or a YAML or JSON file. Raises nothing for what stands in it.

    command: whose arguments they are, where the text does not say.
    """
    if len(text) > LONGEST_TEXT:
        return Pasted(command=command, problems=(_refused("paste_long", limit=LONGEST_TEXT),))
    if "\0" in text:
        return Pasted(command=command, problems=(_refused("paste_unreadable"),))
    found = _line_found(text, command) if _is_line(text) else _file_found(text, command)
    commands = {module.command for module in modules_load().values()}
    if found.command not in commands:
        choices = ", ".join(sorted(commands))
        refused = problem("command", "command_unknown", value=found.command, choices=choices)
        return Pasted(command=command, problems=(refused, *found.problems))
    return _sorted(found, catalogue_load(version).commands[found.command], version)


def _refused(reason: str, **params: object) -> Problem:
    return problem("text", reason, level="error", **params)


def _is_line(text: str) -> bool:
    """Whether it is a command: it names a flag at the beginning of a word."""
    if text.lstrip().startswith(("{", "---")):
        return False
    has_flag = re.search(r"(?:^|\s)(?:--|[\u2012-\u2015\u2212]+)[A-Za-z]", text) is not None
    names_swift = re.search(r"(?:^|\s)(?:swift|megatron)\s+[a-z]", text) is not None
    lines = (line.strip() for line in text.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    is_mapping = re.match(r"[A-Za-z_]\w*:(?:\s|$)", first) is not None
    return (has_flag or names_swift) and not is_mapping


def _line_found(text: str, command: str) -> _Found:
    try:
        line = command_line_read(text)
    except ValueError:
        return _Found(command=command, problems=[_refused("paste_quotes")])
    if line.program == "megatron":
        return _Found(command=command, problems=[_refused("paste_megatron")])
    found = _Found(command=line.command or command, environment=dict(line.environment), problems=[])
    if line.command == "merge-lora":
        found.command = "export"
        found.raw["merge_lora"] = True
    if line.rest:
        found.problems.append(problem("text", "paste_more", level="warning"))
    found.problems += [problem("text", "paste_loose", value=word) for word in line.loose]
    _flags_take(line, found)
    return found


def _flags_take(line: CommandLine, found: _Found) -> None:
    known = catalogue_load().commands.get(found.command)
    for flag, words in line.flags:
        name = _full_name(known, flag)
        argument = known.argument(name) if known else None
        if any(_PLACEHOLDER.match(word) for word in words):
            found.problems.append(problem(name, "paste_variable", value=" ".join(words)))
        elif argument is not None and argument.is_list:
            found.raw[name] = list(words)
        elif len(words) > 1:
            found.problems.append(problem(name, "paste_words", value=" ".join(words)))
        else:
            found.raw[name] = words[0] if words else True


def _full_name(known: Command | None, flag: str) -> str:
    """The argument's own name for one of its spellings; a negative one stays as it is."""
    name, is_negative = known.names_by_flag.get(flag, ("", False)) if known else ("", False)
    return flag if is_negative or not name else name


def _file_found(text: str, command: str) -> _Found:
    try:
        values = file_read(text)
    except UnreadableError:
        return _Found(command=command, problems=[_refused("paste_unreadable")])
    header = _HEADER.search(text)
    said = values.pop("command", None)
    wrapped = values.pop(_WRAPPED, None)
    environment = values.pop("ENV", None) or values.pop("environment", None)
    if isinstance(wrapped, Mapping):
        renamed = {"datasets": "dataset", "validation_datasets": "val_dataset"}
        values = {renamed.get(name, name): one for name, one in values.items()}
        values = {**values, **wrapped}
    if isinstance(said, str):
        named = said
    elif header:
        named = header.group(1)
    else:
        named = "rlhf" if "rlhf_type" in values else command
    return _Found(
        command=named,
        raw={str(name): value for name, value in values.items() if value is not None},
        environment=dict(environment) if isinstance(environment, Mapping) else {},
        problems=[],
    )


def _sorted(found: _Found, known: Command, version: str) -> Pasted:
    """The fields of a draft, from what was read."""
    raw = {_new_name(name, known, found.problems): value for name, value in found.raw.items()}
    own = {name: _own_text(raw.pop(name, None), name, found.problems) for name in OWN_TEXTS}
    datasets = {
        field: _names(raw.pop(name, None), name, found.problems) for name, field in DATASETS.items()
    }
    reward = _names(raw.pop("reward_model", raw.pop("reward_models", None)), "", found.problems)
    beside = {name: _own_text(raw.pop(name, None), name, found.problems) for name in MODELS}
    checked = arguments_check(known.name, raw, version=version)
    environment, refused, processes, gpus = _environment(found.environment)
    # What is wrong only together with others, or missing, is said by the preview at its field.
    spelt = {name.removeprefix("--") for name in raw}
    left_out = [
        one
        for one in checked.errors
        if one.field not in checked.arguments and {one.field, one.field.replace("_", "-")} & spelt
    ]
    errors = [*found.problems, *left_out, *refused]
    return Pasted(
        command=known.name,
        arguments=_changed(checked.arguments, known),
        environment=environment,
        processes=processes,
        gpus=gpus,
        reward_models=reward,
        problems=tuple(errors[:PROBLEMS_SHOWN]),
        model=own["model"],
        model_type=own["model_type"],
        template=own["template"],
        datasets=datasets["datasets"],
        validation_datasets=datasets["validation_datasets"],
        ref_model=beside["ref_model"],
        teacher_model=beside["teacher_model"],
    )


def _changed(arguments: Mapping[str, Value], known: Command) -> dict[str, Value]:
    """Without those that say what SWIFT does anyway."""
    return {
        name: value
        for name, value in arguments.items()
        if value != known.arguments[name].default
        or type(value) is not type(known.arguments[name].default)
    }


def _new_name(name: str, known: Command, problems: list[Problem]) -> str:
    plain = name.removeprefix("--").replace("-", "_")
    renamed = RENAMED.get(plain)
    if plain in known.arguments or renamed not in known.arguments:
        return name
    problems.append(problem(plain, "paste_renamed", level="warning", suggestion=renamed))
    return str(renamed)


def _own_text(raw: object, name: str, problems: list[Problem]) -> str:
    if raw is None:
        return ""
    text = raw[0] if isinstance(raw, list) and len(raw) == 1 else raw
    if not isinstance(text, str) or not text.isprintable() or text.startswith("-"):
        problems.append(problem(name, "value_not_text", value=raw))
        return ""
    if text.startswith(PLATFORM_ROOT):
        problems.append(problem(name, "paste_inside", value=text))
        return ""
    return text.strip()


def _names(raw: object, name: str, problems: list[Problem]) -> tuple[str, ...]:
    items = raw if isinstance(raw, list) else [raw]
    if len(items) > NAMES_MOST:
        problems.append(problem(name, "paste_many", limit=NAMES_MOST))
    return tuple(filter(None, (_own_text(item, name, problems) for item in items[:NAMES_MOST])))


def _environment(
    given: Mapping[str, object],
) -> tuple[dict[str, str], list[Problem], int | None, int | None]:
    """Variables that a job may have, what is wrong with the others, processes and devices."""
    rest = dict(given)
    processes = _count(rest.pop("NPROC_PER_NODE", None))
    devices = [str(rest.pop(name)) for name in _DEVICES if name in rest]
    gpus = len([one for one in devices[0].split(",") if one.strip()]) if devices else processes
    values, refused = environment_check(
        {name: rest[name] for name in rest if name in variables_load()}
    )
    left = [
        problem("environment", "paste_environment", level="warning", value=name)
        for name in rest
        if name not in variables_load()
    ]
    return values, [*refused, *left], processes, gpus or None


def _count(raw: object) -> int | None:
    text = str(raw)
    if not re.fullmatch(r"[0-9]{1,3}", text, re.ASCII):
        return None
    return min(max(int(text), 1), PROCESSES_MOST)
