"""What trains by rewards, answers, and merges: through the whole path, each from the one before."""

import json
from pathlib import Path
from typing import Any

import pytest

from loraforge.embedded.client import ApiClient
from tests.e2e.driver import LiveStack, code_upload, job_wait, sft_body

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

REWARDS = '''
from swift.rewards import ORM, orms


class HasDigit(ORM):
    """1 for an answer with a digit in it."""

    def __call__(self, completions, **kwargs):
        return [float(any(letter.isdigit() for letter in one)) for one in completions]


orms["has_digit"] = HasDigit
'''
GRPO = {
    "rlhf_type": "grpo",
    "reward_funcs": ["has_digit"],
    "num_generations": 2,
    "max_completion_length": 8,
    "max_steps": 2,
    "save_steps": 2,
}


def files_of(api: ApiClient, job: dict[str, Any]) -> set[str]:
    rows = api.get(f"jobs/{job['id']}/artifacts/", limit=200)["results"]
    return {str(row["path"]) for row in rows}


def test_rewards_of_ones_own_train_and_what_came_of_it_answers_and_is_merged(
    stack: LiveStack, alice: ApiClient, demo_folder: Path, dataset: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "rewards.py").write_text(REWARDS)
    code = code_upload(alice, tmp_path / "rewards.py")
    assert (code["state"], code["rewards"]) == ("ready", ["has_digit"])
    assert code["id"] not in {row["id"] for row in alice.pages("datasets/")}
    body = sft_body(
        demo_folder, dataset["id"], command="rlhf", reward_files=[code["id"]], arguments=GRPO
    )
    trained = job_wait(alice, alice.post("jobs/", body)["id"], timeout_s=200)
    assert trained["state"] == "succeeded", trained
    rows = alice.get(f"jobs/{trained['id']}/metrics/", limit=500)["rows"]
    assert any("rewards/HasDigit/mean" in row["values"] for row in rows)
    weights = f"{trained['id']}:1:2"

    work = {"weights_from": weights, "gpus": 1, "start": True}
    answers = {"max_new_tokens": 4, "val_dataset_sample": 4, "torch_dtype": "float32"}
    infer = {**work, "command": "infer", "datasets": [dataset["id"]], "arguments": answers}
    answered = job_wait(alice, alice.post("jobs/", infer)["id"], timeout_s=200)
    assert answered["state"] == "succeeded", answered
    assert "output/result.jsonl" in files_of(alice, answered)
    result = stack.job_folder(answered["id"]) / "output" / "result.jsonl"
    assert len([json.loads(line) for line in result.read_text().splitlines()]) == 4

    merge = {"merge_lora": True, "torch_dtype": "float32"}
    export = {**work, "command": "export", "arguments": merge}
    merged = job_wait(alice, alice.post("jobs/", export)["id"], timeout_s=200)
    assert merged["state"] == "succeeded", merged
    assert {"output/merged/model.safetensors", "output/merged/config.json"} <= files_of(
        alice, merged
    )
