"""Each command of SWIFT as a job: where it leaves its results, what it works on, what is refused beforehand."""

import json
import subprocess
from typing import Any

import pytest

from loraforge.datasets.codecheck import MAX_BYTES, code_check
from loraforge.swift.cases import JobFacts
from loraforge.swift.catalogue import Value
from loraforge.swift.compiler import PlatformArguments, compile_argv, compile_env
from loraforge.swift.rules import arguments_check
from tests.swift.trainer import REPO

CHECKPOINT = "/lf/inputs/checkpoint-4"
READY = JobFacts(has_model=True, has_dataset=True, is_cpu=True)


def argv_of(command: str, arguments: dict[str, Value], **platform: Any) -> dict[str, list[str]]:
    """Flag -> its words."""
    given = PlatformArguments(model_type="qwen2", template="qwen2_5", **platform)
    found: dict[str, list[str]] = {}
    words: list[str] = []
    for word in compile_argv(command, arguments, platform=given)[2:]:
        if word.startswith("--"):
            words = found.setdefault(word.removeprefix("--"), [])
        else:
            words.append(word)
    return found


def ids(
    command: str, arguments: dict[str, Any], facts: JobFacts = READY, *, level: str = "error"
) -> list[tuple[str, str]]:
    checked = arguments_check(command, arguments, facts=facts)
    return [
        (one.field, one.id.removeprefix("swift:")) for one in checked.problems if one.level == level
    ]


def words_of(text: str) -> list[tuple[str, str]]:
    """ "field:reason field:reason" as `ids` has it."""
    return [
        (field, reason) for field, _colon, reason in (one.partition(":") for one in text.split())
    ]


def test_inference_answers_its_rows_into_one_file() -> None:
    argv = argv_of(
        "infer", {}, datasets=("a.jsonl",), val_datasets=("b.jsonl",), adapters=(CHECKPOINT,)
    )
    assert argv["val_dataset"] == ["/lf/inputs/a.jsonl", "/lf/inputs/b.jsonl"]
    assert "dataset" not in argv
    assert argv["result_path"] == ["/lf/job/output/result.jsonl"]
    assert argv["adapters"] == [CHECKPOINT]
    assert argv["external_plugins"] == ["/lf/plugin/platform_command.py"]
    assert not {"callbacks", "output_dir", "check_model", "use_cpu"} & argv.keys()
    assert (argv["model_type"], argv["template"]) == (["qwen2"], ["qwen2_5"])


def test_an_export_has_a_folder_that_is_not_there_yet() -> None:
    merged = argv_of("export", {"merge_lora": True}, adapters=(CHECKPOINT,))
    assert merged["output_dir"] == ["/lf/job/output/merged"]
    cached = argv_of("export", {"to_cached_dataset": True}, datasets=("a.jsonl",))
    assert cached["output_dir"] == ["/lf/job/output/cached_dataset"]
    assert cached["dataset"] == ["/lf/inputs/a.jsonl"]
    quantised = argv_of("export", {"quant_method": "bnb", "quant_bits": 4})
    assert quantised["output_dir"] == ["/lf/job/output/quantized"]


def test_a_push_is_not_kept_from_the_network() -> None:
    platform = PlatformArguments()
    plain, push = (
        compile_env(given, platform=platform, command="export")
        for given in ({}, {"push_to_hub": True})
    )
    assert "HF_HUB_OFFLINE" in plain
    assert "HF_HUB_OFFLINE" not in push


def test_sampling_tells_its_engine_of_weights_and_chat_template() -> None:
    """`swift sample` looks at neither --adapters nor --template where it answers (seen with 4.6.0)."""
    given: dict[str, Value] = {"engine_kwargs": '{"max_batch_size": 4}'}
    argv = argv_of("sample", given, datasets=("a.jsonl",), adapters=(CHECKPOINT,))
    assert json.loads(argv["engine_kwargs"][0]) == {
        "max_batch_size": 4, "template_type": "qwen2_5", "adapters": [CHECKPOINT],
    }  # fmt: skip
    assert "adapters" not in argv
    assert (argv["output_dir"], argv["output_file"]) == (["/lf/job/output"], ["samples.jsonl"])


def test_an_evaluation_leaves_scores_below_its_output() -> None:
    argv = argv_of("eval", {"eval_dataset": ["general_mcq"]})
    assert argv["eval_output_dir"] == ["/lf/job/output/evaluation"]
    env = compile_env({}, platform=PlatformArguments(), command="eval")
    assert env["CB_EVAL_RESULT"] == "/lf/job/output/eval_result.jsonl"


def test_reward_files_come_behind_the_platforms_plugin() -> None:
    argv = argv_of("rlhf", {"rlhf_type": "grpo"}, reward_files=("reward_0_ab.py",))
    assert argv["external_plugins"] == [
        "/lf/plugin/platform_callback.py", "/lf/inputs/reward_0_ab.py",
    ]  # fmt: skip
    assert ids("rlhf", {"external_plugins": ["/tmp/x.py"]}) == [
        ("external_plugins", "argument_reserved")
    ]


ADAPTER = {"weights": "adapter"}
GPU = {"is_cpu": False, "has_dataset": False}
SAMPLE_ADAPTER = "sampler_engine:sample_adapter"
GRPO = {"rlhf_type": "grpo", "num_generations": 2, "per_device_train_batch_size": 2}


@pytest.mark.parametrize(
    ("arguments", "facts", "wanted"),
    [
        ({**GRPO, "reward_funcs": ["accuracy"]}, {}, ""),
        ({**GRPO, "reward_funcs": ["mine"]}, {"reward_names": ("mine",)}, ""),
        ({**GRPO, "reward_funcs": ["mine"]}, {}, "reward_funcs:reward_unknown"),
        (GRPO, {}, "reward_funcs:reward_missing"),
        (GRPO, {"reward_models": 1}, ""),
        ({**GRPO, "num_generations": 3, "reward_funcs": ["format"]}, {}, "num_generations:generations_divide"),
        ({**GRPO, "num_generations": 4, "reward_funcs": ["format"]}, {"processes": 2}, ""),
        ({**GRPO, "reward_funcs": ["format"], "reward_weights": [1.0, 2]}, {}, "reward_weights:reward_weights_number"),
        ({**GRPO, "reward_funcs": ["soft_overlong"]}, {}, "soft_cache_length:soft_cache_missing"),
        ({**GRPO, "reward_funcs": ["format"], "use_vllm": True}, {}, "vllm_mode:vllm_mode_missing use_vllm:gpu_only"),
        ({"rlhf_type": "ppo"}, {}, "reward_model:reward_model_one"),
        ({"rlhf_type": "dpo"}, {"ref_model": "whole"}, "ref_model:ref_model_unused"),
        ({"rlhf_type": "dpo", "tuner_type": "full"}, {"ref_model": "whole"}, ""),
        ({"rlhf_type": "orpo"}, {"ref_model": "adapter"}, "ref_model:ref_adapter_unused"),
        ({"rlhf_type": "kto", "loss_weights": [1.0]}, {}, "loss_weights:losses_dpo_only"),
        ({"rlhf_type": "gkd", "seq_kd": True}, {"teacher_model": "whole"}, "seq_kd:seq_kd"),
        ({"rlhf_type": "rm", "sequence_parallel_size": 2}, {}, "sequence_parallel_size:method_unsupported"),
    ],
)  # fmt: skip
def test_alignment_needs_what_its_algorithm_needs(
    arguments: dict[str, Any], facts: dict[str, Any], wanted: str
) -> None:
    known = JobFacts(has_model=True, has_dataset=True, is_cpu=True, **facts)
    assert ids("rlhf", arguments, known) == words_of(wanted)


@pytest.mark.parametrize(
    ("command", "arguments", "facts", "wanted"),
    [
        ("infer", {}, {"has_dataset": False}, "dataset:dataset_missing"),
        ("infer", {"infer_backend": "vllm"}, {}, "infer_backend:gpu_only"),
        ("export", {}, {}, "merge_lora:export_nothing"),
        ("export", {"merge_lora": True}, ADAPTER, ""),
        ("export", {"merge_lora": True}, {}, "merge_lora:merge_without_lora"),
        ("export", {"merge_lora": True, "push_to_hub": True, "hub_model_id": "a/b"}, ADAPTER, "push_to_hub:export_two"),
        ("export", {"push_to_hub": True}, {}, "hub_model_id:hub_model_missing"),
        ("export", {"quant_method": "gptq", "quant_bits": 4}, GPU, "dataset:calibration_missing"),
        ("export", {"to_mcore": True, "merge_lora": True}, ADAPTER, "to_mcore:argument_reserved"),
        ("eval", {}, {"has_dataset": False}, "eval_dataset:eval_dataset_missing"),
        ("eval", {"eval_dataset": ["mmlu"], "eval_backend": "OpenCompass"}, {}, "eval_backend:eval_backend_absent"),
        ("sample", {"orm_model": "org/name"}, {}, "orm_model:reward_unknown"),
        ("sample", {"sampler_engine": "vllm"}, {**ADAPTER, "is_cpu": False}, SAMPLE_ADAPTER),
        ("sample", {}, {"processes": 2}, "processes:one_process"),
        ("sft", {"push_to_hub": True}, {}, "push_to_hub:argument_reserved"),
    ],
)  # fmt: skip
def test_what_does_not_train_is_judged_too(
    command: str, arguments: dict[str, Any], facts: dict[str, Any], wanted: str
) -> None:
    known = JobFacts(**{"has_model": True, "has_dataset": True, "is_cpu": True, **facts})
    assert ids(command, arguments, known) == words_of(wanted)


def test_a_code_file_is_read_and_never_run() -> None:
    source = b"""
import os
os.abort()
from swift.rewards import ORM, orms
class Long(ORM): pass
orms["long"] = Long
orms.update({"a": Long, "b": Long}, c=Long)
other["no"] = Long
"""
    report = code_check(source)
    assert (report.error_count, report.rewards, report.row_format) == (
        0,
        ["long", "a", "b", "c"],
        "python",
    )
    nothing = code_check(b"x = 1")
    assert (nothing.error_count, nothing.notes) == (0, ["rows:code_nothing"])
    # no codec of the file's own choice is run: this one takes a second for each 20 KB
    named = code_check(b'# coding: punycode\norms["a"] = 1\n#-' + b"a" * 900_000)
    assert named.rewards == ["a"]


@pytest.mark.parametrize(
    ("source", "line", "wanted"),
    [
        (b"def f(:\n  pass", 1, "rows:code_syntax"),
        (b"x = 1\ny = (\n", 2, "rows:code_syntax"),
        (b"x = '\xff'", 0, "rows:code_syntax"),
        (b"x = 1\0", 0, "rows:code_syntax"),
        (b"(" * 5000, 1, "rows:code_syntax"),
        (b"#" * (MAX_BYTES + 1), 0, "rows:code_too_large"),
    ],
)
def test_code_that_is_none_is_refused_with_its_line(source: bytes, line: int, wanted: str) -> None:
    (error,) = code_check(source).errors
    assert error.id == wanted
    assert error.line == line or not line  # what is no text has no lines


def test_the_program_that_reads_code_imports_no_django() -> None:
    code = "import sys, loraforge.datasets.codecheck; sys.exit('django' in sys.modules)"
    python = REPO / ".venv" / "bin" / "python"
    subprocess.run([str(python), "-c", code], check=True, cwd=REPO)
