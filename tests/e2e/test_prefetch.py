"""A model fetched to a node ahead, through the whole path: the job that wants it fetches nothing."""

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.driver import dataset_upload, job_wait, sft_body, stack_running, wait_for
from tests.hubserver import Hub, Repo

pytestmark = [pytest.mark.e2e, pytest.mark.long, pytest.mark.timeout(400)]


def test_what_was_fetched_ahead_is_not_fetched_again(
    tmp_path_factory: pytest.TempPathFactory, demo_folder: Path
) -> None:
    files = {one.name: one.read_bytes() for one in (demo_folder / "model").iterdir()}
    hub = Hub({("models", "org/tiny-0.5B"): Repo(files)})
    data = tmp_path_factory.mktemp("lf", numbered=True)
    try:
        with stack_running(data, demo_folder, **hub.environ) as live:
            live.users_add(alice="researcher", carol="operator")
            with live.api("carol") as operator, live.api("alice") as alice:
                wanted: dict[str, Any] = {"hub": "huggingface", "model": "org/tiny-0.5B"}
                operator.post("nodes/local/prefetches/", wanted)

                def told() -> list[str]:
                    rows = live.sql("select cached_models from nodes_node")
                    return [str(row[0]) for row in rows if "org/tiny-0.5B" in str(row[0])]

                wait_for("the node to tell of the model", told, timeout_s=180)
                assert live.sql("select state, error from migration_prefetch") == [("done", "")]
                weights = hub.fetched("model.safetensors")
                dataset = dataset_upload(alice, demo_folder / "data.jsonl")
                body = sft_body(
                    demo_folder, dataset["id"], model="org/tiny-0.5B", model_hub="huggingface",
                    model_type="qwen2", template="qwen2_5", arguments={"max_steps": 2},
                )  # fmt: skip
                job = job_wait(alice, alice.post("jobs/", body)["id"])
                assert job["state"] == "succeeded", job
                assert hub.fetched("model.safetensors") == weights == 1
    finally:
        hub.close()
