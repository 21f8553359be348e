"""Eight people train at once, nobody sees anything of another, and a ninth waits with the reason."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from loraforge.embedded.client import ApiClient
from tests.e2e.driver import (
    LiveStack,
    dataset_upload,
    job_wait,
    metric_file,
    sft_body,
    stack_running,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PEOPLE = [f"user{number}" for number in range(8)]
STEPS = 20


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory, demo_folder: Path) -> Iterator[LiveStack]:
    """A node with nine slots, so that the platform's cap decides and not the devices."""
    data = tmp_path_factory.mktemp("lf8", numbered=True)
    with stack_running(data, demo_folder, LORAFORGE_CPU_SLOTS="9") as live:
        live.users_add(**dict.fromkeys([*PEOPLE, "ninth"], "researcher"))
        yield live


def own_data(folder: Path, name: str) -> Path:
    """Sixty rows that carry their owner's mark."""
    path = folder / f"{name}.jsonl"
    row = {
        "messages": [
            {"role": "user", "content": f"who is {name}?"},
            {"role": "assistant", "content": f"mark-{name}"},
        ]
    }
    path.write_text((json.dumps(row) + "\n") * 60)
    return path


def train(
    api: ApiClient, demo: Path, folder: Path, name: str, steps: int = STEPS
) -> dict[str, Any]:
    dataset = dataset_upload(api, own_data(folder, name))
    body = sft_body(demo, dataset["id"], name=f"job of {name}", arguments={"max_steps": steps})
    job: dict[str, Any] = api.post("jobs/", body)
    return job


@pytest.fixture
def people(room: LiveStack) -> Iterator[dict[str, ApiClient]]:
    """Everybody signs in once, as people do; signing in is limited per address."""
    with ExitStack() as stack:
        yield {name: stack.enter_context(room.api(name)) for name in [*PEOPLE, "ninth"]}


def test_eight_at_once_and_a_ninth_waits(
    room: LiveStack, people: dict[str, ApiClient], demo_folder: Path, tmp_path: Path
) -> None:
    def begin(name: str) -> dict[str, Any]:
        return train(people[name], demo_folder, tmp_path, name)

    with ThreadPoolExecutor(len(PEOPLE)) as pool:
        jobs = dict(zip(PEOPLE, pool.map(begin, PEOPLE), strict=True))
    query = "select count(*) from instances_instance where state in ('preparing', 'running')"
    wait_for("eight at once", lambda: room.sql(query)[0][0] == len(PEOPLE), timeout_s=120)
    ninth = train(people["ninth"], demo_folder, tmp_path, "ninth", steps=2)
    address = f"jobs/{ninth['id']}/"
    why = wait_for("its reason", lambda: people["ninth"].get(address)["wait_reason"])
    assert why == "scheduling:global_cap"
    assert people["ninth"].get(address)["state"] == "queued"
    for name, job in jobs.items():
        assert job_wait(people[name], job["id"], timeout_s=400)["state"] == "succeeded"
    assert_apart(room, people, jobs)
    assert job_wait(people["ninth"], ninth["id"], timeout_s=200)["state"] == "succeeded"


def assert_apart(
    room: LiveStack, people: dict[str, ApiClient], jobs: dict[str, dict[str, Any]]
) -> None:
    """Each has exactly its own log, metrics and files."""
    for name, job in jobs.items():
        folder, api = room.job_folder(job["id"]), people[name]
        assert api.get("jobs/")["count"] == 1
        log = api.request("GET", f"jobs/{job['id']}/log/download/").content
        rows = api.get(f"jobs/{job['id']}/metrics/", limit=500)["rows"]
        files = {
            row["path"]: row["size_bytes"] for row in api.pages(f"jobs/{job['id']}/artifacts/")
        }
        assert log == (folder / "console.log").read_bytes()
        assert [row["values"] for row in rows] == metric_file(folder)
        assert f"jobs/{job['id']}/".encode() in log
        others = [
            f"jobs/{other['id']}/".encode() for other in jobs.values() if other["id"] != job["id"]
        ]
        assert not any(other in log for other in others)
        assert all((folder / path).stat().st_size == size for path, size in files.items())
