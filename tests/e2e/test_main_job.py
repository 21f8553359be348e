"""Upload -> job -> SUCCEEDED -> download, and every number held against what SWIFT itself wrote."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from loraforge.embedded.client import ApiClient, ApiError
from nodeagent.contract.normalise import normalise
from tests.e2e.driver import LiveStack, job_wait, log_all, metric_file, sft_body, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def finished(alice: ApiClient, demo_folder: Path, dataset: dict[str, Any]) -> dict[str, Any]:
    """One job that ran to its end."""
    job = alice.post("jobs/", sft_body(demo_folder, dataset["id"]))
    ended = job_wait(alice, job["id"])
    assert ended["state"] == "succeeded", ended
    return ended


def test_adapter_in_two_ranges_equals_the_file_on_the_node(
    stack: LiveStack, alice: ApiClient, finished: dict[str, Any]
) -> None:
    rows = list(alice.pages(f"jobs/{finished['id']}/artifacts/"))
    row = next(
        row for row in rows if row["path"].endswith("checkpoint-12/adapter_model.safetensors")
    )
    address = f"jobs/{finished['id']}/artifacts/{row['path']}"
    half = row["size_bytes"] // 2
    data = alice.download(address, end=half - 1) + alice.download(address, start=half)
    on_node = (stack.job_folder(finished["id"]) / row["path"]).read_bytes()
    assert data == on_node
    assert hashlib.sha256(data).hexdigest() == row["sha256"]


def test_metrics_equal_logging_jsonl_row_by_row(
    stack: LiveStack, alice: ApiClient, finished: dict[str, Any]
) -> None:
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        page = alice.get(
            f"jobs/{finished['id']}/metrics/", limit=5, **({"after": after} if after else {})
        )
        if not page["rows"]:
            break
        rows += page["rows"]
        after = page["next"]
    expected = metric_file(stack.job_folder(finished["id"]))
    assert len(expected) > 12
    assert [row["values"] for row in rows] == expected
    assert [row["step"] for row in rows[:12]] == list(range(1, 13))


def test_log_download_is_console_log_and_log_is_its_lines(
    stack: LiveStack, alice: ApiClient, finished: dict[str, Any]
) -> None:
    console = (stack.job_folder(finished["id"]) / "console.log").read_bytes()
    assert len(console) > 10_000
    downloaded = alice.request("GET", f"jobs/{finished['id']}/log/download/").content
    assert downloaded == console
    assert log_all(alice, finished["id"]) == normalise(console)


def test_job_remembers_what_it_was(
    alice: ApiClient, finished: dict[str, Any], dataset: dict[str, Any]
) -> None:
    job = alice.get(f"jobs/{finished['id']}/")
    assert job["progress"] == 100
    assert job["step"] == job["max_steps"] == 12
    assert job["catalogue_version"] == "4.6.0"
    assert job["argv"][:2] == ["-m", "swift.cli.sft"]
    assert job["datasets"][0]["sha256"] == dataset["sha256"]
    states = [event["target"] for event in alice.get(f"jobs/{job['id']}/events/")["results"]]
    assert states == ["queued", "assigned", "preparing", "running", "finishing", "succeeded"]


@pytest.mark.parametrize(
    "path",
    [
        "",
        "log/",
        "log/download/",
        "metrics/",
        "artifacts/",
        "events/",
        "attempts/",
        "artifacts/console.log",
        "shares/",
    ],
)
def test_another_user_gets_404(bob: ApiClient, finished: dict[str, Any], path: str) -> None:
    with pytest.raises(ApiError) as caught:
        bob.request("GET", f"jobs/{finished['id']}/{path}")
    assert caught.value.status == 404
    assert caught.value.error_id


def test_second_training_of_a_user_waits_with_the_reason(
    alice: ApiClient, demo_folder: Path, dataset: dict[str, Any]
) -> None:
    first = alice.post("jobs/", sft_body(demo_folder, dataset["id"], arguments={"max_steps": 400}))
    job_wait(alice, first["id"], {"running"})
    second = alice.post("jobs/", sft_body(demo_folder, dataset["id"]))
    job_wait(alice, second["id"], {"queued"})
    address = f"jobs/{second['id']}/"
    why = wait_for("its reason", lambda: alice.get(address)["wait_reason"])
    assert why == "scheduling:user_cap"
    alice.post(f"jobs/{first['id']}/cancel/")
    assert job_wait(alice, first["id"])["state"] == "stopped"
    assert job_wait(alice, second["id"])["state"] == "succeeded"
