"""What fails around a training must not touch it: same process, no gap, no duplicate, a known end."""

import signal
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from loraforge.embedded.client import ApiClient
from nodeagent.contract.normalise import normalise
from tests.e2e.driver import (
    LiveStack,
    job_wait,
    log_all,
    metric_file,
    sft_body,
    trainer_pids,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

STEPS = 120


# `down` takes its time on a busy machine, and the training must outlast it.
STEPS_LONG = 800


@pytest.fixture
def running(
    alice: ApiClient, stack: LiveStack, demo_folder: Path, dataset: dict[str, Any]
) -> dict[str, Any]:
    """A job in mid-training, long enough for the fault."""
    return started(alice, demo_folder, dataset, steps=STEPS)


@pytest.fixture
def running_long(
    alice: ApiClient, stack: LiveStack, demo_folder: Path, dataset: dict[str, Any]
) -> dict[str, Any]:
    """A job in mid-training that outlasts an orderly stop of all services."""
    return started(alice, demo_folder, dataset, steps=STEPS_LONG)


def started(api: ApiClient, demo: Path, dataset: dict[str, Any], *, steps: int) -> dict[str, Any]:
    body = sft_body(demo, dataset["id"], arguments={"max_steps": steps, "save_steps": 5000})
    job = api.post("jobs/", body)
    wait_for("some steps", lambda: api.get(f"jobs/{job['id']}/")["step"] >= 5)
    found: dict[str, Any] = api.get(f"jobs/{job['id']}/")
    return found


def assert_whole(stack: LiveStack, api: ApiClient, job_id: int) -> None:
    """The job succeeded with a known exit code, and all that it wrote is stored exactly once."""
    job = job_wait(api, job_id, timeout_s=300)
    assert job["state"] == "succeeded", job
    assert job["exit_code"] == 0
    folder = stack.job_folder(job_id)
    console = (folder / "console.log").read_bytes()
    wait_for(
        "the whole log",
        lambda: api.request("GET", f"jobs/{job_id}/log/download/").content == console,
    )
    assert log_all(api, job_id) == normalise(console)
    chunks = stack.sql(
        'select c.start, c."end" from telemetry_logchunk c join instances_attempt a on a.id = c.attempt_id'
        " where a.instance_id = ? order by c.start",
        job_id,
    )
    assert [start for start, _end in chunks] == [0, *[end for _start, end in chunks[:-1]]]
    assert chunks[-1][1] == len(console)
    rows = api.get(f"jobs/{job_id}/metrics/", limit=2000)["rows"]
    assert [row["values"] for row in rows] == metric_file(folder)
    assert len(list(api.pages(f"jobs/{job_id}/attempts/"))) == 1


def test_agent_killed_in_mid_training(
    stack: LiveStack, alice: ApiClient, running: dict[str, Any]
) -> None:
    before = trainer_pids(stack.job_folder(running["id"]))
    assert before
    agent = stack.pid_of("nodeagent")
    stack.kill("nodeagent")
    wait_for("a new agent", lambda: stack.pid_of("nodeagent") not in {0, agent})
    assert trainer_pids(stack.job_folder(running["id"])) == before
    assert_whole(stack, alice, running["id"])


def test_down_and_up_in_mid_training(
    stack: LiveStack, alice: ApiClient, running_long: dict[str, Any]
) -> None:
    before = trainer_pids(stack.job_folder(running_long["id"]))
    said = stack.down()
    assert "1 training(s) go on" in said
    assert trainer_pids(stack.job_folder(running_long["id"])) == before
    stack.up()
    assert_whole(stack, alice, running_long["id"])


def test_whole_stack_killed_in_mid_training(
    stack: LiveStack, alice: ApiClient, running: dict[str, Any]
) -> None:
    before = trainer_pids(stack.job_folder(running["id"]))
    supervisor = psutil.Process(int((stack.data / "supervisord.pid").read_text()))
    services = [supervisor, *supervisor.children()]
    for process in services:
        process.send_signal(signal.SIGKILL)
    psutil.wait_procs(services, timeout=10)
    assert trainer_pids(stack.job_folder(running["id"])) == before
    stack.up()
    assert_whole(stack, alice, running["id"])


def test_redis_flushed_in_mid_training(
    stack: LiveStack, alice: ApiClient, running: dict[str, Any]
) -> None:
    connection = redis.Redis.from_url(stack.redis_url())
    connection.flushall()
    step = alice.get(f"jobs/{running['id']}/")["step"]
    wait_for(
        "progress after the flush",
        lambda: alice.get(f"jobs/{running['id']}/")["step"] > step,
        timeout_s=30,
    )
    assert_whole(stack, alice, running["id"])


@pytest.mark.long  # the fault suite kills each of them for every change
@pytest.mark.parametrize("service", ["web", "control", "core", "redis"])
def test_a_service_killed_in_mid_training(
    stack: LiveStack, alice: ApiClient, running: dict[str, Any], service: str
) -> None:
    before = trainer_pids(stack.job_folder(running["id"]))
    stack.kill(service)
    wait_for("all services", lambda: _answers(stack), timeout_s=30)
    assert trainer_pids(stack.job_folder(running["id"])) == before
    assert_whole(stack, alice, running["id"])


def _answers(stack: LiveStack) -> bool:
    try:
        with stack.api("alice") as api:
            api.get("me/")
    except Exception:
        return False
    return all(stack.pid_of(name) for name in ("web", "control", "core", "redis"))
