"""One training over two processes, through the whole path."""

from pathlib import Path
from typing import Any

import pytest

from loraforge.embedded.client import ApiClient
from tests.e2e.driver import LiveStack, job_wait, metric_file, sft_body

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

STEPS = 8
# Loss of the untrained tiny model. Without gradient synchronisation it is shown doubled (near 12).
FIRST_LOSS = (5.5, 6.5)


def test_two_processes_make_one_curve(
    stack: LiveStack, alice: ApiClient, demo_folder: Path, dataset: dict[str, Any]
) -> None:
    body = sft_body(
        demo_folder,
        dataset["id"],
        gpus=2,
        processes=2,
        arguments={"max_steps": STEPS, "save_steps": STEPS, "learning_rate": 1e-3},
    )
    job = job_wait(alice, alice.post("jobs/", body)["id"], timeout_s=200)
    assert job["state"] == "succeeded", job
    rows = alice.get(f"jobs/{job['id']}/metrics/", limit=500)["rows"]
    assert [row["values"] for row in rows] == metric_file(stack.job_folder(job["id"]))
    losses = [row["values"]["loss"] for row in rows if "loss" in row["values"]]
    assert [row["step"] for row in rows[:STEPS]] == list(range(1, STEPS + 1))
    assert FIRST_LOSS[0] < losses[0] < FIRST_LOSS[1]
    assert losses[-1] < losses[0]
    console = (stack.job_folder(job["id"]) / "console.log").read_text(errors="replace")
    # SWIFT's first line; a training in one process says world_size: 1
    assert "rank: 0, local_rank: 0, world_size: 2, local_world_size: 2" in console
