"""What is refused, and with which words; what is let through, and as which value."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loraforge.swift.cases import JobFacts
from loraforge.swift.catalogue import catalogue_load
from loraforge.swift.problems import TEXTS, Problem
from loraforge.swift.reserved import RESERVED
from loraforge.swift.rules import arguments_check
from tests.swift.trainer import REPO

READY = JobFacts(has_model=True, has_dataset=True, is_cpu=True)


def problems(arguments: dict[str, Any], facts: JobFacts | None = None) -> list[Problem]:
    return list(arguments_check("sft", arguments, facts=facts).problems)


def ids(arguments: dict[str, Any], facts: JobFacts | None = None) -> list[tuple[str, str]]:
    return [(one.field, one.id.removeprefix("swift:")) for one in problems(arguments, facts)]


def test_right_arguments_come_back_in_their_own_types() -> None:
    given_ = {
        "--learning-rate": "1e-4",
        "per_device_train_batch_size": "8",
        "bf16": "True",
        "target_modules": "q_proj v_proj",
        "report_to": ["tensorboard"],
        "quant_bits": "4",
        "lr_scheduler_kwargs": '{"num_cycles": 2}',
        "deepspeed": "zero2",
        "max_length": None,
        "max_steps": "",
        "system": "",
    }
    checked = arguments_check("sft", given_)
    assert not checked.errors
    assert checked.arguments == {
        "learning_rate": 0.0001,
        "per_device_train_batch_size": 8,
        "bf16": True,
        "target_modules": ["q_proj", "v_proj"],
        "report_to": ["tensorboard"],
        "quant_bits": 4,
        "lr_scheduler_kwargs": {"num_cycles": 2},
        "deepspeed": "zero2",
        "system": "",
    }


def test_an_abbreviation_is_refused_though_swift_takes_it() -> None:
    (problem,) = problems({"lora_ran": 4})
    assert problem.id == "swift:argument_abbreviated"
    assert "Did you mean --lora_rank?" in problem.text


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("train_type", "argument_renamed"),
        ("learning_rte", "argument_similar"),
        ("zzzzzz", "argument_unknown"),
        ("", "argument_unknown"),
        ("lora_rank=4", "argument_similar"),
        ("Lora_Rank", "argument_similar"),
    ],
)
def test_unknown_names(name: str, reason: str) -> None:
    assert ids({name: 4}) == [(name, reason)]


def test_an_unknown_command_is_a_problem_of_its_own() -> None:
    checked = arguments_check("rm", {"x": 1})
    assert [one.id for one in checked.problems] == ["swift:command_unknown"]


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("lora_rank", "eight", "value_not_int"),
        ("lora_rank", 8.5, "value_not_int"),
        ("lora_rank", True, "value_not_int"),
        ("lora_rank", "٣", "value_not_int"),
        ("lora_rank", 10**30, "value_not_int"),
        ("lora_rank", 0, "value_range"),
        ("learning_rate", "fast", "value_not_float"),
        ("learning_rate", "1_0.5", "value_not_float"),
        ("learning_rate", "١٢", "value_not_float"),
        ("learning_rate", "nan", "value_not_finite"),
        ("learning_rate", float("inf"), "value_not_finite"),
        ("learning_rate", 10**400, "value_not_float"),
        ("learning_rate", 0, "value_range"),
        ("learning_rate", [1], "value_not_float"),
        ("split_dataset_ratio", 1, "value_range"),
        ("max_length", "0", "value_range"),
        ("per_device_train_batch_size", 0, "value_range"),
        ("seed", -1, "value_range"),
        ("bf16", "maybe", "value_not_bool"),
        ("bf16", 2, "value_not_bool"),
        ("bf16", 1.0, "value_not_bool"),
        ("torch_dtype", "bf16", "value_choice"),
        ("tuner_type", "lorra", "value_choice"),
        ("template", "qwen9", "value_choice"),
        ("report_to", "wandbb", "value_choice"),
        ("deepspeed", "/etc/zero.json", "value_choice"),
        ("lr_scheduler_kwargs", "[1]", "value_not_json"),
        ("lr_scheduler_kwargs", {"a": float("nan")}, "value_not_json"),
        ("lr_scheduler_kwargs", {"a": object()}, "value_not_json"),
        ("target_modules", [], "value_empty_list"),
        ("target_modules", {"a": 1}, "value_not_list"),
        ("target_modules", ["q_proj", "--output_dir"], "value_like_flag"),
        ("target_modules", '["q_proj"', "value_not_list"),
        ("system", 5, "value_not_text"),
        ("system", "a\0b", "value_unreadable"),
        ("system", "\ud800", "value_unreadable"),
        ("system", "x" * 200_000, "value_too_long"),
        ("dataset", ["/etc/passwd"], "dataset_path"),
        ("dataset", ["HF::../x"], "dataset_path"),
        ("val_dataset", "./x.jsonl", "dataset_path"),
    ],
)
def test_wrong_values(name: str, value: object, reason: str) -> None:
    checked = arguments_check("sft", {name: value})
    assert [(one.field, one.id) for one in checked.errors] == [(name, f"swift:{reason}")]
    assert name not in checked.arguments


@pytest.mark.parametrize("name", sorted(RESERVED))
def test_reserved_arguments_are_refused_with_a_reason(name: str) -> None:
    command = next(
        command
        for command, described in catalogue_load().commands.items()
        if name in described.arguments
    )
    checked = arguments_check(command, {name: "x"})
    (problem,) = [one for one in checked.problems if one.field == name]
    assert problem.id == "swift:argument_reserved"
    assert f"--{name}" in problem.text
    assert name not in checked.arguments


def test_what_the_platform_decides_is_reserved() -> None:
    decided = {"output_dir", "add_version", "logging_dir", "external_plugins", "callbacks"}
    told = {"ignore_args_error", "hub_token", "resume_from_checkpoint", "use_cpu", "push_to_hub"}
    assert decided | told <= set(RESERVED)


def test_every_secret_of_the_catalogue_is_reserved() -> None:
    for name, command in catalogue_load().commands.items():
        for argument in command.arguments:
            if argument.endswith(("_token", "_secret", "api_key", "password")):
                assert not arguments_check(name, {argument: "x"}).arguments, argument


def test_negative_flags_only_by_their_exact_name() -> None:
    checked = arguments_check("sft", {"--no-gradient-checkpointing": True})
    assert checked.arguments == {"gradient_checkpointing": False}
    assert ids({"no_gradient_checkpointing": False}) == [
        ("no_gradient_checkpointing", "negative_value")
    ]
    abbreviated = arguments_check("sft", {"no_gradient_check": True})
    assert abbreviated.arguments == {}
    assert abbreviated.errors[0].field == "no_gradient_check"


def test_one_argument_in_two_spellings() -> None:
    assert ("lora_rank", "argument_twice") in ids({"lora_rank": 4, "lora-rank": 8})


def test_model_and_dataset_are_asked_for() -> None:
    assert ids({}, JobFacts()) == [("model", "model_missing"), ("dataset", "dataset_missing")]
    assert ids({"model": "Qwen/Qwen3-8B", "dataset": ["a/b#5"]}, JobFacts()) == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"bf16": True, "fp16": True}, ("fp16", "precision_both")),
        ({"fp16": True}, ("fp16", "precision_on_cpu")),
        ({"torch_dtype": "float16"}, ("torch_dtype", "precision_on_cpu")),
        (
            {"quant_bits": 4, "quant_method": "hqq", "tuner_type": "full"},
            ("quant_bits", "quantised_full"),
        ),
        ({"quant_method": "hqq"}, ("quant_bits", "quant_bits_missing")),
        ({"quant_bits": 4}, ("quant_method", "quant_method_missing")),
        ({"task_type": "seq_cls"}, ("num_labels", "num_labels_missing")),
        ({"streaming": True}, ("max_steps", "streaming_without_steps")),
        ({"max_steps": 9, "num_train_epochs": 1}, ("num_train_epochs", "steps_win")),
        ({"warmup_steps": 9, "warmup_ratio": 0.1}, ("warmup_ratio", "warmup_twice")),
        ({"packing": True}, ("packing", "packing_attention")),
        ({"deepspeed": "zero2"}, ("deepspeed", "gpu_only")),
        ({"deepspeed": "zero2", "device_map": "auto"}, ("device_map", "device_map_sharded")),
        ({"deepspeed": "zero2", "fsdp": "fsdp2"}, ("fsdp", "sharding_both")),
        ({"attn_impl": "flash_attn"}, ("attn_impl", "gpu_only")),
        ({"eval_steps": 5}, ("eval_steps", "validation_missing")),
        ({"load_best_model_at_end": True}, ("load_best_model_at_end", "validation_missing")),
        ({"model_type": "qwen2", "template": "llama3_2"}, ("template", "template_foreign")),
        ({"tuner_type": "full", "lora_rank": 8}, ("lora_rank", "tuner_unused")),
        ({"save_strategy": "no"}, ("save_strategy", "saving_off")),
    ],
)
def test_arguments_that_do_not_go_together(
    arguments: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert expected in ids(arguments, READY)


def test_model_kwargs_set_no_variable_that_a_job_may_not() -> None:
    """SWIFT makes variables of them."""
    refused = ids({"model_kwargs": {"cb_exit_code": 0}})
    assert refused == [("model_kwargs", "environment_unknown")]
    assert ids({"model_kwargs": {"max_pixels": 1003520}}) == []


def test_what_is_trained_in_full_is_not_float16() -> None:
    half = {"torch_dtype": "float16", "tuner_type": "full"}
    on_gpu = JobFacts(has_model=True, has_dataset=True, is_cpu=False)
    assert ids(half, on_gpu) == [("torch_dtype", "precision_full")]
    assert ids({**half, "tuner_type": "lora"}, on_gpu) == []


def test_best_model_needs_a_validation_at_each_save() -> None:
    given_ = {"load_best_model_at_end": True, "split_dataset_ratio": 0.1, "eval_steps": 20}
    assert ids({**given_, "save_steps": 50}, READY) == [("save_steps", "best_model_steps")]
    assert ids({**given_, "save_steps": 40}, READY) == []


def test_a_plain_fine_tune_has_no_problem_at_all() -> None:
    arguments = {
        "learning_rate": 1e-4, "num_train_epochs": 1, "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 16, "max_length": 2048, "split_dataset_ratio": 0.01,
        "eval_steps": 50, "save_steps": 50, "lora_rank": 8, "lora_alpha": 32, "warmup_ratio": 0.05,
        "target_modules": ["all-linear"], "bf16": True, "seed": 42, "model_type": "qwen2",
        "template": "qwen2_5", "system": "You are a helpful assistant.", "tuner_type": "lora",
    }  # fmt: skip
    checked = arguments_check("sft", arguments, facts=READY)
    assert checked.problems == ()
    assert checked.is_valid


def test_warnings_do_not_forbid_and_stand_last() -> None:
    checked = arguments_check("sft", {"save_strategy": "no", "bf16": True, "fp16": True})
    assert [one.level for one in checked.problems] == ["error", "warning"]
    assert not checked.is_valid
    assert arguments_check("sft", {"save_strategy": "no"}).is_valid


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
NAMES = st.sampled_from(sorted(catalogue_load().commands["rlhf"].arguments)) | st.text()


@given(
    command=st.sampled_from(sorted(catalogue_load().commands)),
    arguments=st.dictionaries(NAMES, VALUES, max_size=8),
)
def test_nothing_that_a_user_types_raises(command: str, arguments: dict[str, Any]) -> None:
    for problem in arguments_check(command, arguments, facts=JobFacts()).problems:
        assert problem.text  # every placeholder has its parameter
        assert "%(" not in (problem.message % problem.params)


@pytest.mark.parametrize("reason", sorted(TEXTS))
def test_every_text_is_used(reason: str) -> None:
    """A text that nothing says would be translated for nobody."""
    package = catalogue_load.__module__.rpartition(".")[0].replace(".", "/")
    sources = "".join(
        path.read_text(encoding="utf-8")
        for path in (REPO / package).rglob("*.py")
        if path.name != "problems.py"
    )
    assert f'"{reason}"' in sources
