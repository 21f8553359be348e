"""Over the whole catalogue: what the form takes, SWIFT's own parser takes and reads as it was meant."""

import json
import string
from collections.abc import Iterator
from pathlib import PurePath
from typing import Any

import pytest

from loraforge.swift.catalogue import Argument, catalogue_load
from loraforge.swift.compiler import PlatformArguments, compile_argv
from loraforge.swift.forms.modules import modules_load
from loraforge.swift.reserved import OWN_FIELDS, reserved_reason
from loraforge.swift.rules import DATASET_ARGUMENTS, arguments_check
from loraforge.swift.values import RANGES, Range
from tests.swift.conftest import Parse

CATALOGUE = catalogue_load()
CLASSES = {
    "sft": "SftArguments", "pt": "PretrainArguments", "rlhf": "RLHFArguments", "infer": "InferArguments",
    "export": "ExportArguments", "eval": "EvalArguments", "sample": "SamplingArguments",
    "deploy": "DeployArguments",
}  # fmt: skip
COMMANDS = sorted({module.command for module in modules_load().values()})
PLATFORM = PlatformArguments(datasets=("data.jsonl",), model_type="qwen2", template="qwen2_5")
# What the compiler puts together from the value and from what the platform adds.
MERGED = {"engine_kwargs"}
ROUNDS = 6  # values of each argument; of a list with more choices, some from all over it

HOSTILE = [
    "--output_dir=../..", "--external_plugins", "-x", "@/etc/passwd", "x\n--output_dir\n/etc", "$(reboot)",
    "`id`", "; rm -rf /", "a b --output_dir c", "\u2014output_dir", "\u2013\u2013output_dir", "\u202eevil",
    "'", '"', "\\", "{", "[", "%s%n", "../../etc/passwd", "http://169.254.169.254/", "\ufeff", " ", "\t", "-1e5",
]  # fmt: skip
UNREADABLE = ["a\0b", "\ud800", "x" * 100_001]
TOKENS = ["hf_" + string.ascii_letters[:34], "sk-" + string.ascii_letters[:32], "ghp_" + "a1" * 18]


def own(command: str) -> list[Argument]:
    """The arguments of a command that a person may set."""
    return [
        argument
        for argument in CATALOGUE.commands[command].arguments.values()
        if argument.name not in OWN_FIELDS | MERGED
        and reserved_reason(argument.name, command) is None
    ]


def values(argument: Argument) -> Iterator[Any]:
    """Right values: every choice, both bounds, texts that mean something to shells and parsers."""
    offered = CATALOGUE.suggestions(argument)
    if argument.kind == "bool":
        yield from (True, False, "yes", "0")
    elif offered:
        yield from (offered[at * len(offered) // ROUNDS] for at in range(min(ROUNDS, len(offered))))
    elif argument.kind.endswith(("int", "float")):
        yield from _numbers(argument)
    elif argument.name == "model_kwargs":  # SWIFT makes variables of them
        yield from ({"max_pixels": 9000}, {"VIDEO_MAX_PIXELS": "9000"}, {})
    elif argument.kind == "json":
        yield from ({"a": 1}, {"--x": ["-y", None, 0.5, {"é": "\n"}]}, {})
    elif argument.name not in DATASET_ARGUMENTS | {"generation_config"}:
        yield from ("x", "--output_dir=/etc", "a b", "@x", "é\n", "-1")


def _numbers(argument: Argument) -> Iterator[int | float | str]:
    limits = RANGES.get(argument.name, Range())
    whole = argument.kind.endswith("int")
    tried = (limits.ge, limits.le, 1, 0, 2, 7, 100, -3, 2**31, 0.25, 1e-7, "1e-4", "8")
    for one in tried:
        if one is None or (whole and not str(one).lstrip("-").isdigit()):
            continue
        if limits.holds(float(one)):
            yield int(one) if whole and not isinstance(one, str) else one


def rounds(command: str) -> Iterator[dict[str, Any]]:
    """All arguments at once, with their first values, their second values, ..."""
    kinds = {argument.name: list(values(argument)) for argument in own(command)}
    for at in range(max(map(len, kinds.values()))):
        chosen = {name: found[at] for name, found in kinds.items() if at < len(found)}
        listed = {one.name for one in own(command) if one.is_list}
        yield {name: [one] if name in listed else one for name, one in chosen.items()}


def refusals_of_value(command: str, given: dict[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """What is right of it, and the fields whose own value was refused (not what is wrong together)."""
    checked = arguments_check(command, given)
    for found in checked.problems:
        assert found.field, found
    return dict(checked.arguments), {one.field for one in checked.errors}


def same(argument: Argument, read: Any, value: Any) -> bool:
    if isinstance(value, dict):
        return bool(json.loads(read) == value)
    if argument.name == "generation_config":
        return bool(read == str(PurePath(value)))
    return bool(read == value)


@pytest.mark.swift
@pytest.mark.parametrize("command", COMMANDS)
def test_swift_takes_what_the_form_takes(swift_parse: Parse, command: str) -> None:
    for given in rounds(command):
        taken, refused = refusals_of_value(command, given)
        assert set(given) - set(taken) <= refused, "what is left out has a reason with its name"
        argv = compile_argv(command, taken, platform=PLATFORM)
        answer = swift_parse(CLASSES[command], argv[2:])
        assert answer.get("remaining") == [], answer
        for name, value in taken.items():
            argument = CATALOGUE.commands[command].arguments[name]
            assert same(argument, answer["values"][name], value), name


@pytest.mark.swift
@pytest.mark.parametrize("command", ["rlhf", "export", "eval", "sample"])
def test_hostile_values_stay_values(swift_parse: Parse, command: str) -> None:
    for text in HOSTILE:
        given = {one.name: [text] if one.is_list else text for one in own(command)}
        taken, refused = refusals_of_value(command, given)
        meaningless = set(given) - set(taken) - refused
        assert not meaningless or not text.strip(), meaningless
        argv = compile_argv(command, taken, platform=PLATFORM)
        answer = swift_parse(CLASSES[command], argv[2:])
        assert answer.get("remaining") == [], (text, answer)
        for name in ("output_dir", "external_plugins"):
            ours = compile_argv(command, {}, platform=PLATFORM)
            assert (f"--{name}" in argv) == (f"--{name}" in ours), name
        read = answer["values"]
        for name, value in taken.items():
            assert same(CATALOGUE.commands[command].arguments[name], read[name], value), (
                name,
                text,
            )


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("text", UNREADABLE + TOKENS, ids=lambda text: repr(text[:6]))
def test_what_no_program_takes_and_what_is_a_secret_is_refused(command: str, text: str) -> None:
    given = {one.name: [text] if one.is_list else text for one in own(command)}
    taken, refused = refusals_of_value(command, given)
    assert taken == {}
    assert set(given) <= refused
    for nested in ({"a": text}, {"a": [{text: 1}]}) if "\0" not in text else ():
        assert not arguments_check(command, {"model_kwargs": nested}).arguments.get("model_kwargs")


@pytest.mark.parametrize(
    "name",
    [
        "external_plugins", "output_dir", "--output-dir", "hub_token", "callbacks", "\u2014output_dir",
        "output_dir\n", "@x", "-o", "", "lora_ran", "custom_register_path", "no_output_dir", "a b", "\0",
    ],
)  # fmt: skip
def test_other_names_never_reach_the_list(name: str) -> None:
    for command in COMMANDS:
        checked = arguments_check(command, {name: "x"})
        assert checked.arguments == {}
        assert len(checked.errors) >= 1
