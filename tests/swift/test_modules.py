"""Each module with the real SWIFT, from compiled arguments to its results (whole path: tests/e2e/test_modules.py)."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from loraforge.swift.catalogue import Value
from loraforge.swift.compiler import PlatformArguments, compile_argv, compile_env
from loraforge.swift.rules import arguments_check
from nodeagent.runtimes.paths import real_paths
from tests.swift.trainer import PYTHON, QUICK, REPO

pytestmark = [pytest.mark.swift, pytest.mark.long, pytest.mark.timeout(600)]

QUICK_STEPS: dict[str, Value] = {**QUICK, "max_steps": 2, "save_steps": 2}
CHECKPOINT = "/lf/inputs/checkpoint-2"
REWARD = """
from swift.rewards import ORM, orms


class HasDigit(ORM):
    def __call__(self, completions, **kwargs):
        return [float("1" in str(one)) for one in completions]


orms["has_digit"] = HasDigit
"""

Run = Callable[..., Path]


def rows_write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def inputs(material: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of each kind, and a file with a reward function."""
    folder = tmp_path_factory.mktemp("inputs")
    lines = (material / "data.jsonl").read_text(encoding="utf-8").splitlines()[:12]
    rows = [json.loads(line) for line in lines]
    rows_write(folder / "sft.jsonl", rows)
    rows_write(folder / "dpo.jsonl", [{**row, "rejected_response": "no idea."} for row in rows])
    rows_write(folder / "kto.jsonl", [{**row, "label": n % 2 == 0} for n, row in enumerate(rows)])
    rows_write(folder / "prompt.jsonl", [{"messages": row["messages"][:1]} for row in rows])
    (folder / "reward_0_ab.py").write_text(REWARD)
    return folder


@pytest.fixture(scope="module")
def run(material: Path, inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """(command, arguments, parts of PlatformArguments) -> the job's folder, once it has ended well."""

    def started(command: str, arguments: dict[str, Value], **parts: Any) -> Path:
        job = tmp_path_factory.mktemp("job")
        for name in ("output", "work", "control"):
            (job / name).mkdir()
        platform = PlatformArguments(model_type="qwen2", template="qwen2_5", **parts)
        checked = arguments_check(command, arguments)
        assert checked.is_valid, checked.errors
        argv = compile_argv(command, checked.arguments, platform=platform)
        argv += ["--use_cpu", "true"] if "--logging_dir" in argv else []
        env = compile_env(checked.arguments, platform=platform, save_every_s=0, command=command)
        places = {
            "/lf/job/output": job / "output",
            "/lf/job/events.jsonl": job / "events.jsonl",
            "/lf/job/control": job / "control",
            "/lf/inputs": inputs,
            "/lf/model": material / "model",
            "/lf/plugin": REPO / "nodeagent" / "swift_plugin",
        }
        told = {key: real_paths(value, places) for key, value in env.items()}
        with (job / "console.log").open("wb") as console:
            ended = subprocess.run(
                [PYTHON, *(real_paths(word, places) for word in argv)],
                cwd=job / "work",
                env={"PATH": os.environ["PATH"], "HOME": str(job), "OMP_NUM_THREADS": "1", **told},
                stdout=console,
                stderr=subprocess.STDOUT,
                check=False,
            )
        assert ended.returncode == 0, (job / "console.log").read_text(errors="replace")[-3000:]
        assert "plugin_loaded" in (job / "events.jsonl").read_text()
        return job

    return started


@pytest.fixture(scope="module")
def checkpoint(run: Run, inputs: Path) -> str:
    """LoRA weights of a fine-tune, where the jobs after it see them."""
    job = run("sft", {**QUICK_STEPS, "lora_rank": 4}, datasets=("sft.jsonl",))
    shutil.copytree(job / "output" / "checkpoint-2", inputs / "checkpoint-2")
    return CHECKPOINT


@pytest.fixture(scope="module")
def reward_model(run: Run, inputs: Path) -> str:
    given: dict[str, Value] = {**QUICK_STEPS, "rlhf_type": "rm", "tuner_type": "full"}
    job = run("rlhf", given, datasets=("dpo.jsonl",))
    shutil.copytree(job / "output" / "checkpoint-2", inputs / "reward")
    return "/lf/inputs/reward"


@pytest.mark.parametrize("method", ["dpo", "orpo", "simpo", "cpo", "kto"])
def test_preferences(run: Run, method: str) -> None:
    rows = "kto.jsonl" if method == "kto" else "dpo.jsonl"
    job = run("rlhf", {**QUICK_STEPS, "rlhf_type": method}, datasets=(rows,))
    assert (job / "output" / "checkpoint-2" / "adapter_model.safetensors").exists()


def test_dpo_has_the_weights_that_it_goes_on_from_for_its_reference(
    run: Run, checkpoint: str
) -> None:
    job = run(
        "rlhf",
        {**QUICK_STEPS, "rlhf_type": "dpo"},
        datasets=("dpo.jsonl",),
        models={"ref_adapters": [checkpoint]},
    )
    assert "(ref_adapter)" in (job / "console.log").read_text(errors="replace")


def test_ppo_with_a_reward_model(run: Run, reward_model: str) -> None:
    given: dict[str, Value] = {
        **QUICK_STEPS, "rlhf_type": "ppo", "response_length": 4, "num_ppo_epochs": 1, "num_train_epochs": 0.2,
    }  # fmt: skip
    models = {"reward_model": [reward_model], "reward_model_type": ["qwen2"]}
    job = run("rlhf", given, datasets=("prompt.jsonl",), models=models)
    assert list((job / "output").glob("checkpoint-*"))


def test_gkd_with_a_teacher(run: Run) -> None:
    given: dict[str, Value] = {**QUICK_STEPS, "rlhf_type": "gkd", "max_completion_length": 4}
    models = {"teacher_model": "/lf/model", "teacher_model_type": "qwen2"}
    run("rlhf", given, datasets=("sft.jsonl",), models=models)


def test_grpo_with_a_reward_model(run: Run, reward_model: str) -> None:
    given: dict[str, Value] = {
        **QUICK_STEPS, "rlhf_type": "grpo", "num_generations": 2, "max_completion_length": 4,
    }  # fmt: skip
    models = {"reward_model": [reward_model], "reward_model_type": ["qwen2"]}
    run("rlhf", given, datasets=("prompt.jsonl",), models=models)


def test_a_cached_dataset(run: Run) -> None:
    given: dict[str, Value] = {"to_cached_dataset": True, "max_length": 128}
    job = run("export", given, datasets=("sft.jsonl",))
    assert list((job / "output" / "cached_dataset" / "train").glob("*.arrow"))


@pytest.mark.parametrize("has_weights", [False, True])
def test_sampling(run: Run, checkpoint: str, has_weights: bool) -> None:
    given: dict[str, Value] = {
        "torch_dtype": "float32", "num_return_sequences": 2, "n_best_to_keep": 1, "max_new_tokens": 4,
    }  # fmt: skip
    adapters = (checkpoint,) if has_weights else ()
    job = run("sample", given, datasets=("sft.jsonl",), adapters=adapters)
    lines = (job / "output" / "samples.jsonl").read_text().splitlines()
    assert len(lines) == 24
