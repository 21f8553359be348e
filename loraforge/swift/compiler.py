"""From checked arguments to what a node runs: an argument list, an environment, a file to keep.

Never a shell string. The list goes after the Python executable, the same for one process and for
several: the node's runtime puts torch's launcher in front where `Start.processes` asks for it.
"""

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal

import msgspec

from loraforge.swift import jobs
from loraforge.swift.catalogue import DEFAULT_VERSION, Command, Value, catalogue_load
from nodeagent.contract import paths

# The trainer's exit code after "stop and save", so that it differs from success (EX_TEMPFAIL).
STOPPED_EXIT_CODE = 75
SAVE_EVERY_S = 600
DEFAULT_SEED = 42
# Where the plugin is not heard: by steps, and often enough that a stop does not cost a day.
DEAF_SAVE_STEPS = 100
SWIFT_BATCH = 16
LARGEST_WHOLE = 1e15  # beyond this a float is better read with its exponent
FIRST = ("model", "model_type", "template", "dataset", "val_dataset", "output_dir")
# What only makes sense on a node: left out of the file that people download.
PLATFORM_ONLY = frozenset(
    {"output_dir", "add_version", "logging_dir", "external_plugins", "callbacks", "adapters"}
    | {"resume_from_checkpoint", "use_cpu", "ddp_backend", "check_model", "result_path"}
    | {"output_file", "eval_output_dir", "reward_adapters", "ref_adapters", "teacher_adapters"}
)


class PlatformArguments(msgspec.Struct, frozen=True, kw_only=True):
    """What the platform decides about one attempt.

    model: paths.MODEL for a folder of the node, else a hub id. model_type, template: used where the
    user gave none. datasets, val_datasets: names of files below paths.INPUTS. seed: used where the user
    gave none (None = not drawn yet, left out). is_cpu: the devices are CPU slots. processes:
    data-parallel processes on this node. resume_from: a checkpoint's path (below paths.OUTPUT or
    paths.INPUTS). adapters: folders of LoRA weights to work on. use_hf: hub ids are Hugging Face's, not
    ModelScope's. reward_files: names of code files below paths.INPUTS. models: arguments of the models
    beside the base model, with their places.
    """

    model: str = paths.MODEL
    model_type: str | None = None
    template: str | None = None
    datasets: tuple[str, ...] = ()
    val_datasets: tuple[str, ...] = ()
    seed: int | None = DEFAULT_SEED
    is_cpu: bool = False
    processes: int = 1
    resume_from: str | None = None
    adapters: tuple[str, ...] = ()
    use_hf: bool = False
    reward_files: tuple[str, ...] = ()
    models: dict[str, Value] = {}

    def __post_init__(self) -> None:
        for name in (*self.datasets, *self.val_datasets, *self.reward_files):
            # SWIFT reads "#100" as a number of rows and "::" or ":" as a hub and a subset
            if not re.fullmatch(r"[\w][\w.+@=-]*", name):
                message = f"Not a plain file name for SWIFT: {name!r}"
                raise ValueError(message)
        if self.processes < 1:
            message = f"processes must be at least 1: {self.processes}"
            raise ValueError(message)


def compile_argv(
    command: str,
    arguments: Mapping[str, Value],
    *,
    platform: PlatformArguments,
    version: str = DEFAULT_VERSION,
) -> list[str]:
    """What follows the Python executable: `["-m", "swift.cli.sft", "--model", "/lf/model", ...]`.

    arguments: `Checked.arguments` of `rules.arguments_check` (full names, right types). Raises
    KeyError for a command or name that the catalogue lacks.
    """
    known = catalogue_load(version).commands[command]
    argv = ["-m", known.module]
    for name, value in _merged(known, arguments, platform).items():
        argument = known.arguments[name]
        argv += _flag(argument.flags[0], _plain(value) if argument.kind == "float" else value)
    return argv


def compile_env(
    arguments: Mapping[str, Value],
    *,
    platform: PlatformArguments,
    save_every_s: float = SAVE_EVERY_S,
    command: str = "",
) -> dict[str, str]:
    """Environment of the trainer, beside what the node sets (devices, home, caches, threads).

    The values that begin with a path of `nodeagent.contract.paths` are to be rewritten like argv.
    """
    env = {
        "CB_EVENTS": paths.EVENTS,
        "CB_CONTROL_DIR": paths.CONTROL,
        "CB_SAVE_EVERY_S": f"{save_every_s:g}",
        "CB_EXIT_CODE": str(STOPPED_EXIT_CODE),
        "PYTHONUNBUFFERED": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_TELEMETRY": "1",
    }
    if command == "eval":
        env["CB_EVAL_RESULT"] = jobs.EVAL_RESULT
    given = [*_items(arguments, "dataset"), *_items(arguments, "val_dataset")]
    remote = [one for one in given if not str(one).startswith(f"{paths.DATA}/")]
    if platform.model.startswith("/") and not remote and arguments.get("push_to_hub") is not True:
        env |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    return env


def hears_plugin(command: str, arguments: Mapping[str, Value]) -> bool:
    """False where SWIFT drops the platform's callback: nothing saves by the clock, on request or at a stop.

    PPO's trainer makes trl's anew and loses the callbacks (seen with 4.6.0); only save_steps is left.
    """
    return not (command == "rlhf" and arguments.get("rlhf_type") == "ppo")


def accumulation_default(*, rows: int, world: int, rlhf_type: object = None) -> int:
    """SWIFT's own choice when no accumulation is given (swift/trainers/arguments.py of 4.6.0).

    rows: on each of ``world`` processes at a time.
    """
    if rlhf_type == "grpo":  # swift/arguments/rlhf_args.py
        return 1
    return max(1, math.ceil(SWIFT_BATCH / max(1, rows) / max(1, world)))


def compile_yaml(
    command: str,
    arguments: Mapping[str, Value],
    *,
    platform: PlatformArguments,
    environment: Mapping[str, str] | None = None,
    version: str = DEFAULT_VERSION,
) -> str:
    """The same as a file for `swift <command> <file>`, without what only makes sense on a node.

    environment: variables for the training, which SWIFT reads from the same file.

    Every value is written as JSON, which YAML reads as it is, so no YAML library is needed. SWIFT's
    reader cannot hand over a text that begins with a dash; such a line becomes a comment.
    """
    known = catalogue_load(version).commands[command]
    lines = [f"# SWIFT {version}: swift {command} FILE"]
    for name, value in _merged(known, arguments, platform).items():
        if name in PLATFORM_ONLY:
            continue
        line = f"{name}: {_yaml(value)}"
        items = value if isinstance(value, list) else [value]
        unreadable = any(isinstance(item, str) and item.startswith("-") for item in items)
        lines.append(f"# give on the command line: {line}" if unreadable else line)
    if environment:
        lines += ["ENV:", *(f"  {name}: {_yaml(one)}" for name, one in environment.items())]
    return "\n".join(lines) + "\n"


def _merged(
    command: Command, arguments: Mapping[str, Value], platform: PlatformArguments
) -> dict[str, Value]:
    """The user's arguments under the platform's, in a fixed order: inputs first, then SWIFT's."""
    unknown = [name for name in arguments if name not in command.arguments]
    if unknown:
        raise KeyError(unknown[0])
    proposed = _defaults(platform)
    if not hears_plugin(command.name, arguments):
        proposed["save_steps"] = DEAF_SAVE_STEPS
    values = {**proposed, **arguments, **_decided(command.name, arguments, platform)}
    names = [*FIRST, *(name for name in command.arguments if name not in FIRST)]
    return {
        name: values[name]
        for name in names
        if name in command.arguments and values.get(name, []) not in ([], None)
    }


def _defaults(platform: PlatformArguments) -> dict[str, Value]:
    """What the platform proposes; the user's own value wins."""
    values: dict[str, Value] = {"report_to": ["none"]}
    if platform.seed is not None:
        values["seed"] = platform.seed
    if platform.model_type:
        values["model_type"] = platform.model_type
    if platform.template:
        values["template"] = platform.template
    return values


def _decided(
    command: str, arguments: Mapping[str, Value], platform: PlatformArguments
) -> dict[str, Value]:
    """What the platform decides, whatever the user gave."""
    values: dict[str, Value] = {
        "model": platform.model,
        "check_model": False,
        **jobs.places(command, arguments),
        **jobs.plugins(command, platform.reward_files),
        **_datasets(command, arguments, platform),
        **jobs.weights(
            command,
            arguments,
            adapters=platform.adapters,
            template=arguments.get("template") or platform.template or "",
        ),
        **platform.models,
    }
    if platform.is_cpu:
        values["use_cpu"] = True
        if platform.processes > 1:  # without it every process would train for itself
            values["ddp_backend"] = "gloo"
    if platform.use_hf:
        values["use_hf"] = True
    if platform.resume_from:
        values["resume_from_checkpoint"] = platform.resume_from
    return values


def _datasets(
    command: str, arguments: Mapping[str, Value], platform: PlatformArguments
) -> dict[str, Value]:
    """Files first, then remote ones. What is to be answered goes where `swift infer` looks for it."""
    found: dict[str, list[int | float | str]] = {}
    for name, files in (("dataset", platform.datasets), ("val_dataset", platform.val_datasets)):
        inputs = [*(f"{paths.INPUTS}/{file}" for file in files), *_items(arguments, name)]
        place = "val_dataset" if command in jobs.ANSWERING else name
        found[place] = [*found.get(place, []), *inputs]
    # a list that was moved elsewhere must not stay behind
    moved: dict[str, Value] = {"dataset": []} if command in jobs.ANSWERING else {}
    return {**moved, **{name: inputs for name, inputs in found.items() if inputs}}


def _plain(value: Value) -> Value:
    """20 for 20.0, as people write it; SWIFT reads a float from both. Only for arguments that are floats."""
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < LARGEST_WHOLE
    return int(value) if is_whole else value  # type: ignore[arg-type] # a float


def _items(arguments: Mapping[str, Value], name: str) -> list[int | float | str]:
    value = arguments.get(name)
    return value if isinstance(value, list) else []


def _flag(flag: str, value: Value) -> list[str]:
    """A flag and its value; joined by `=` where the value could be taken for another flag."""
    if isinstance(value, list):
        items = [_item(item) for item in value]
        return (
            [f"{flag}={items[0]}"] if len(items) == 1 and _is_dashed(items[0]) else [flag, *items]
        )
    text = _text(value)
    return [f"{flag}={text}"] if _is_dashed(text) else [flag, text]


def _is_dashed(text: str) -> bool:
    return text.startswith("-")


def _item(value: float | str) -> str:
    """An item of a list. A negative number is written out: argparse takes "-1e-05" for a flag."""
    if isinstance(value, float) and value < 0:
        written = format(Decimal(repr(value)), "f")
        return written if "." in written else f"{written}.0"
    return _text(value)


def _text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    return str(value)


def _yaml(value: Value) -> str:
    """JSON; what YAML calls unprintable is escaped."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    unprintable = r"[\x7f-\x84\x86-\x9f\u2028\u2029\ufeff\ufffe\uffff]"
    return re.sub(unprintable, lambda found: f"\\u{ord(found.group()):04x}", text)
