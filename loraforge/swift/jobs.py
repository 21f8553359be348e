"""What each command of SWIFT is to the platform: whether it trains, and where it leaves what it makes. Pure.

Tried with ms-swift 4.6.0: what a command is not told, it writes beside its inputs, or into the folder it runs in.
"""

import json
from collections.abc import Mapping
from typing import Any

from loraforge.swift.catalogue import Value
from nodeagent.contract import paths

TRAINING = frozenset({"pt", "sft", "rlhf"})

# Beside the trainers' callback: says when the imports are done, and keeps results out of read-only folders.
TRAINER_PLUGIN = f"{paths.PLUGIN}/platform_callback.py"
COMMAND_PLUGIN = f"{paths.PLUGIN}/platform_command.py"
PLUGIN_NAME = "platform"

INFER_RESULT = f"{paths.OUTPUT}/result.jsonl"
SAMPLE_FILE = "samples.jsonl"
EVAL_FOLDER = f"{paths.OUTPUT}/evaluation"
EVAL_RESULT = f"{paths.OUTPUT}/eval_result.jsonl"
EVAL_REQUESTS = f"{paths.OUTPUT}/eval_requests.jsonl"
# What `swift export` makes -> the folder of it below the output; it refuses one that is there already.
EXPORTS = {
    "merge_lora": "merged",
    "quant_method": "quantized",
    "to_cached_dataset": "cached_dataset",
    "to_ollama": "ollama",
}
# Inputs of these are what is answered, not what is learned.
ANSWERING = frozenset({"infer"})


def export_kind(arguments: Mapping[str, Value]) -> str:
    """The argument that says what an export makes; "push_to_hub" or "" when it makes nothing here.

    Merging comes first where several are given: the rules refuse that.
    """
    found = next((name for name in EXPORTS if arguments.get(name)), "")
    return found or ("push_to_hub" if arguments.get("push_to_hub") else "")


def places(command: str, arguments: Mapping[str, Value]) -> dict[str, Value]:
    """Where the command leaves its results: arguments that the platform decides."""
    if command in TRAINING:
        return {
            "output_dir": paths.OUTPUT,
            "logging_dir": f"{paths.OUTPUT}/runs",
            "add_version": False,
        }
    if command in ("infer", "deploy"):
        return {"result_path": INFER_RESULT}
    if command == "export":
        folder = EXPORTS.get(export_kind(arguments))
        return {"output_dir": f"{paths.OUTPUT}/{folder}"} if folder else {}
    if command == "sample":
        return {"output_dir": paths.OUTPUT, "output_file": SAMPLE_FILE}
    if command == "eval":
        return {"eval_output_dir": EVAL_FOLDER, "result_path": EVAL_REQUESTS}
    return {}


def plugins(command: str, reward_files: tuple[str, ...]) -> dict[str, Value]:
    """The platform's own code inside the job, then the user's."""
    own = TRAINER_PLUGIN if command in TRAINING else COMMAND_PLUGIN
    files = [own, *(f"{paths.INPUTS}/{name}" for name in reward_files)]
    switched_on: dict[str, Value] = {"callbacks": [PLUGIN_NAME]} if command in TRAINING else {}
    return {"external_plugins": list(files), **switched_on}


def weights(
    command: str, arguments: Mapping[str, Value], *, adapters: tuple[str, ...], template: Value
) -> dict[str, Value]:
    """How the command is told of LoRA weights.

    `swift sample` has --adapters and --template and looks at neither where it answers: its engine takes them
    among its own arguments.
    """
    if command != "sample":
        return {"adapters": list(adapters)} if adapters else {}
    if arguments.get("sampler_engine", "transformers") != "transformers":
        return {}
    engine = engine_of(arguments)
    if template:
        engine["template_type"] = template
    if adapters:
        engine["adapters"] = list(adapters)
    return {"engine_kwargs": json.dumps(engine)} if engine else {}


def engine_of(arguments: Mapping[str, Value]) -> dict[str, Any]:
    """What is given to the engine of `swift sample`; {} where it is no JSON object (a rule says so)."""
    given = arguments.get("engine_kwargs")
    try:
        plain = json.loads(given) if isinstance(given, str) else {}
    except (ValueError, RecursionError):
        return {}
    return plain if isinstance(plain, dict) else {}
