"""The argument list: fixed shape, and read back by SWIFT's own parser as the values that went in."""

import json
import shlex
from pathlib import PurePath
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraforge.swift.catalogue import Argument, Value, catalogue_load
from loraforge.swift.compiler import (
    PlatformArguments,
    compile_argv,
    compile_env,
    compile_yaml,
    hears_plugin,
)
from loraforge.swift.jobs import places
from loraforge.swift.reserved import OWN_FIELDS, reserved_reason
from loraforge.swift.rules import arguments_check
from loraforge.swift.values import CLOSED_REGISTRIES, RANGES, WORDS_OF_JSON, Range
from tests.swift.conftest import Parse

CATALOGUE = catalogue_load()
CLASSES = {
    "sft": "SftArguments",
    "pt": "PretrainArguments",
    "rlhf": "RLHFArguments",
    "infer": "InferArguments",
    "export": "ExportArguments",
    "eval": "EvalArguments",
    "sample": "SamplingArguments",
    "deploy": "DeployArguments",
}
PLATFORM = PlatformArguments(
    datasets=("data.jsonl",), is_cpu=True, model_type="qwen2", template="qwen2_5"
)


def test_a_fine_tune_as_an_argument_list() -> None:
    argv = compile_argv("sft", {"lora_rank": 8, "learning_rate": 1e-5}, platform=PLATFORM)
    assert argv == shlex.split(
        "-m swift.cli.sft --model /lf/model --model_type qwen2 --template qwen2_5"
        " --dataset /lf/inputs/data.jsonl --output_dir /lf/job/output --learning_rate 1e-05"
        " --report_to none --seed 42 --use_cpu true --check_model false --callbacks platform"
        " --logging_dir /lf/job/output/runs"
        " --external_plugins /lf/plugin/platform_callback.py --lora_rank 8 --add_version false"
    )


def test_the_order_does_not_depend_on_the_order_given() -> None:
    forwards: dict[str, Value] = {"lora_rank": 8, "bf16": True, "learning_rate": 0.1}
    backwards = dict(reversed(forwards.items()))
    assert compile_argv("sft", forwards, platform=PLATFORM) == compile_argv(
        "sft", backwards, platform=PLATFORM
    )


def test_several_processes_on_cpus_speak_over_gloo() -> None:
    platform = PlatformArguments(is_cpu=True, processes=2)
    argv = compile_argv("sft", {}, platform=platform)
    assert argv[:2] == ["-m", "swift.cli.sft"]  # the runtime adds torch's launcher
    assert argv[argv.index("--ddp_backend") + 1] == "gloo"


def test_on_gpus_the_backend_is_left_to_torch() -> None:
    argv = compile_argv("sft", {}, platform=PlatformArguments(processes=2))
    assert "--use_cpu" not in argv
    assert "--ddp_backend" not in argv


def test_the_platform_wins_over_reserved_arguments_and_yields_in_the_rest() -> None:
    given_: dict[str, Value] = {
        "output_dir": "/etc", "seed": 7, "report_to": ["tensorboard"], "model": "Qwen/Qwen3-8B",
    }  # fmt: skip
    argv = compile_argv("sft", given_, platform=PLATFORM)
    assert argv[argv.index("--output_dir") + 1] == "/lf/job/output"
    assert argv[argv.index("--model") + 1] == "/lf/model"
    assert argv[argv.index("--seed") + 1] == "7"
    assert argv[argv.index("--report_to") + 1] == "tensorboard"


def test_remote_datasets_stand_behind_uploaded_ones() -> None:
    argv = compile_argv("sft", {"dataset": ["AI-ModelScope/alpaca#5"]}, platform=PLATFORM)
    at = argv.index("--dataset")
    assert argv[at + 1 : at + 3] == ["/lf/inputs/data.jsonl", "AI-ModelScope/alpaca#5"]


def test_a_resumed_training_names_its_checkpoint() -> None:
    platform = PlatformArguments(resume_from="/lf/job/output/checkpoint-20")
    argv = compile_argv("sft", {}, platform=platform)
    assert argv[argv.index("--resume_from_checkpoint") + 1] == "/lf/job/output/checkpoint-20"


def test_hub_ids_are_modelscopes_unless_said_otherwise() -> None:
    argv = compile_argv("sft", {}, platform=PlatformArguments(model="a/b", use_hf=True))
    assert (argv[argv.index("--model") + 1], argv[argv.index("--use_hf") + 1]) == ("a/b", "true")
    assert "--use_hf" not in compile_argv("sft", {}, platform=PlatformArguments(model="a/b"))


@pytest.mark.parametrize("name", ["a/b.jsonl", "../x", "a#5", "HF::a", "-x.jsonl", "", "a\n"])
def test_a_dataset_name_that_swift_would_read_otherwise_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="plain file name"):
        PlatformArguments(datasets=(name,))


def test_an_unknown_name_never_reaches_the_list() -> None:
    with pytest.raises(KeyError):
        compile_argv("sft", {"lora_ran": 4}, platform=PLATFORM)


def test_environment_is_offline_only_when_everything_is_there() -> None:
    env = compile_env({}, platform=PLATFORM, save_every_s=600)
    assert env["CB_EVENTS"] == "/lf/job/events.jsonl"
    assert env["CB_CONTROL_DIR"] == "/lf/job/control"
    assert (env["CB_SAVE_EVERY_S"], env["CB_EXIT_CODE"]) == ("600", "75")
    assert env["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in compile_env({"dataset": ["a/b"]}, platform=PLATFORM)
    assert "HF_HUB_OFFLINE" not in compile_env(
        {}, platform=PlatformArguments(model="Qwen/Qwen3-8B")
    )


def test_the_file_to_keep_holds_what_a_person_can_use() -> None:
    values: dict[str, Value] = {
        "system": "说“#1”\n\x7f",
        "lora_rank": 8,
        "response_prefix": "--x",
    }
    text = compile_yaml("sft", values, platform=PLATFORM)
    lines = text.splitlines()
    assert "lora_rank: 8" in lines
    assert 'system: "说“#1”\\n\\u007f"' in lines
    assert '# give on the command line: response_prefix: "--x"' in lines
    assert "output_dir" not in text


# ---- read back by SWIFT ----------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)


def _numbers(name: str) -> tuple[float, float]:
    limits = RANGES.get(name, Range())
    low = (
        limits.ge
        if limits.ge is not None
        else (limits.gt or 0) + 1e-9
        if limits.gt is not None
        else -1e6
    )
    high = (
        limits.le if limits.le is not None else limits.lt - 1e-9 if limits.lt is not None else 1e6
    )
    return low, high


def _one(argument: Argument, kind: str) -> st.SearchStrategy[Any]:
    """Right values of one item of an argument."""
    low, high = _numbers(argument.name)
    if kind == "int":
        return st.integers(min_value=int(-(-low // 1)), max_value=int(high))
    if kind == "float":
        return st.floats(min_value=low, max_value=high, allow_nan=False)
    words = argument.choices
    if argument.name in CLOSED_REGISTRIES and not (
        argument.name == "loss_type" and argument.is_list
    ):
        words = CATALOGUE.registries[argument.name]
    if words or argument.name in WORDS_OF_JSON:
        return st.sampled_from(words or WORDS_OF_JSON[argument.name])
    if argument.name == "generation_config":  # SWIFT makes a Path of it
        return st.just("file.json")
    if argument.name == "model_kwargs":  # SWIFT makes variables of them
        return st.dictionaries(
            st.sampled_from(["max_pixels", "VIDEO_MAX_PIXELS"]), st.integers(9000, 10**6)
        )
    if kind == "json":
        return st.dictionaries(TEXTS, st.none() | st.booleans() | st.integers(-9, 9) | TEXTS)
    return TEXTS.filter(str.strip)


def values_of(argument: Argument) -> st.SearchStrategy[Any]:
    """Right values of an argument."""
    if argument.kind == "bool":
        return st.booleans()
    if not argument.kind.startswith("list_"):
        return _one(argument, argument.kind)
    item = _one(argument, argument.kind.removeprefix("list_"))
    is_flag_like = st.just("--output_dir") if argument.kind == "list_str" else st.nothing()
    free = argument.name not in CLOSED_REGISTRIES and not argument.choices
    single = st.lists(item | is_flag_like if free else item, min_size=1, max_size=1)
    several = st.lists(
        item.filter(lambda one: not str(one).startswith("-") or one != str(one)),
        min_size=2,
        max_size=4,
    )
    return single | several


@st.composite
def commands(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    name = draw(st.sampled_from(sorted(CLASSES)))
    free = [
        argument
        for argument in CATALOGUE.commands[name].arguments.values()
        if argument.name not in OWN_FIELDS
        and reserved_reason(argument.name) is None
        and not argument.name.startswith("cached_")
        and argument.name != "engine_kwargs"  # the platform's own are among them: test_jobs
    ]
    chosen = draw(st.lists(st.sampled_from(free), unique_by=lambda one: one.name, max_size=25))
    return name, {argument.name: draw(values_of(argument)) for argument in chosen}


@pytest.mark.swift
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(case=commands())
def test_swift_reads_back_what_was_compiled(
    swift_parse: Parse, case: tuple[str, dict[str, Any]]
) -> None:
    command, values = case
    checked = arguments_check(command, values)
    assert checked.arguments == values, checked.problems
    argv = compile_argv(command, checked.arguments, platform=PLATFORM)
    answer = swift_parse(CLASSES[command], argv[2:])
    assert answer.get("remaining") == [], answer
    for name, value in values.items():
        read = answer["values"][name]
        if isinstance(value, dict):
            read = json.loads(read)
        if name == "generation_config":
            value = str(PurePath(value))  # noqa: PLW2901
        assert read == value, name
    for name, value in places(command, checked.arguments).items():
        assert answer["values"][name] == value, name


@pytest.mark.swift
def test_a_text_like_a_flag_stays_a_text(swift_parse: Parse) -> None:
    checked = arguments_check("sft", {"system": "--output_dir=/etc"})
    argv = compile_argv("sft", checked.arguments, platform=PLATFORM)
    read = swift_parse("SftArguments", argv[2:])["values"]
    assert (read["system"], read["output_dir"]) == ("--output_dir=/etc", "/lf/job/output")


@pytest.mark.swift
def test_every_user_argument_can_be_given_on_the_command_line(swift_parse: Parse) -> None:
    """What SWIFT's parser can never read must be reserved, with that reason."""
    samples: dict[str, Any] = {"bool": True, "int": 3, "float": 0.5, "str": "x", "json": {"a": 1}}
    samples |= {"list_int": [1], "list_float": [0.5], "list_str": ["x"]}
    for argument in CATALOGUE.commands["rlhf"].arguments.values():
        if reserved_reason(argument.name) is not None:
            continue
        value = argument.choices[0] if argument.choices else samples[argument.kind]
        if argument.choices and argument.is_list:
            value = [value]
        argv = compile_argv("rlhf", {argument.name: value}, platform=PLATFORM)
        answer = swift_parse("RLHFArguments", argv[2:])
        assert answer.get("remaining") == [], (argument.name, answer)


def test_whole_floats_are_written_as_people_write_them() -> None:
    given: dict[str, Value] = {"num_train_epochs": 60.0, "save_steps": 20.0, "learning_rate": 1e-4}
    argv = compile_argv("sft", given, platform=PlatformArguments())
    shown = {name: argv[argv.index(f"--{name}") + 1] for name in given}
    assert shown == {"num_train_epochs": "60", "save_steps": "20", "learning_rate": "0.0001"}


def test_where_swift_does_not_hear_the_plugin_checkpoints_come_by_steps() -> None:
    def save_steps(arguments: dict[str, Value]) -> str | None:
        argv = compile_argv("rlhf", arguments, platform=PLATFORM)
        return argv[argv.index("--save_steps") + 1] if "--save_steps" in argv else None

    assert save_steps({"rlhf_type": "ppo"}) == "100"
    assert save_steps({"rlhf_type": "ppo", "save_steps": 7}) == "7"
    assert save_steps({"rlhf_type": "dpo"}) is None
    assert hears_plugin("sft", {})
    assert not hears_plugin("rlhf", {"rlhf_type": "ppo"})
