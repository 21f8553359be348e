"""Bad input gets an error that names the field and the remedy, and nothing is left behind."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from loraforge.embedded.client import ApiClient, ApiError
from tests.e2e.driver import (
    REPOSITORY,
    LiveStack,
    dataset_upload,
    job_wait,
    sft_body,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"arguments": {"lora_rnk": 4}}, "arguments.lora_rnk"),
        ({"arguments": {"lora_ran": 4}}, "arguments.lora_ran"),
        ({"arguments": {"learning_rate": "fast"}}, "arguments.learning_rate"),
        ({"arguments": {"tuner_type": "magic"}}, "arguments.tuner_type"),
        ({"arguments": {"output_dir": "/tmp/x"}}, "arguments.output_dir"),
        ({"arguments": {"hub_token": "abc"}}, "arguments.hub_token"),
        ({"datasets": [999_999]}, "datasets"),
        ({"gpu_uuids": ["GPU-does-not-exist"]}, "gpu_uuids"),
        ({"node": "nowhere"}, "node"),
        ({"model": "/etc"}, "model"),
        ({"command": "nonsense"}, "command"),
    ],
)
def test_a_wrong_field_is_named(
    alice: ApiClient,
    demo_folder: Path,
    dataset: dict[str, Any],
    changes: dict[str, Any],
    field: str,
) -> None:
    before = alice.get("jobs/")["count"]
    with pytest.raises(ApiError) as caught:
        alice.post("jobs/", sft_body(demo_folder, dataset["id"], **changes))
    assert caught.value.status == 400
    assert field in caught.value.fields
    assert all(text.strip() for text in caught.value.fields[field])
    assert alice.get("jobs/")["count"] == before


def test_broken_jsonl_names_its_lines(alice: ApiClient, tmp_path: Path) -> None:
    good = (
        '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'
    )
    path = tmp_path / "broken.jsonl"
    path.write_text(good + "{not json\n" + good + '["no object"]\n')
    found = dataset_upload(alice, path)
    assert found["state"] == "invalid"
    errors = alice.get(f"datasets/{found['id']}/")["errors"]
    assert [error["line"] for error in errors] == [2, 4]


def test_an_unusable_dataset_is_refused(
    alice: ApiClient, tmp_path: Path, demo_folder: Path
) -> None:
    path = tmp_path / "empty.jsonl"
    path.write_text("{}\n")
    found = dataset_upload(alice, path)
    with pytest.raises(ApiError) as caught:
        alice.post("jobs/", sft_body(demo_folder, found["id"]))
    assert "datasets" in caught.value.fields


def test_a_wrong_node_token_is_refused(stack: LiveStack, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "nodeagent",
            "--name",
            "local",
            "--token",
            "lfn_wrong",
            "--server",
            stack.url,
            "--data",
            str(tmp_path / "node"),
            "--runtime",
            "process",
        ],
        cwd=REPOSITORY,
        env=stack.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "token" in (done.stdout + done.stderr).lower()
    assert "Traceback" not in done.stderr


def test_planted_link_and_fifo_are_never_followed(
    stack: LiveStack, alice: ApiClient, demo_folder: Path, dataset: dict[str, Any]
) -> None:
    job = alice.post("jobs/", sft_body(demo_folder, dataset["id"], arguments={"max_steps": 100}))
    job_wait(alice, job["id"], {"running"})
    folder = stack.job_folder(job["id"]) / "output"
    wait_for("the output folder", folder.exists)
    (folder / "shadow").symlink_to("/etc/shadow")
    os.mkfifo(folder / "pipe")
    assert job_wait(alice, job["id"])["state"] == "succeeded"
    paths = [row["path"] for row in alice.pages(f"jobs/{job['id']}/artifacts/")]
    assert not any(path.endswith(("shadow", "pipe")) for path in paths)
    for name in ("shadow", "pipe"):
        with pytest.raises(ApiError) as caught:
            alice.download(f"jobs/{job['id']}/artifacts/output/{name}")
        assert caught.value.status == 404
