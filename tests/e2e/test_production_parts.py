"""The main job on PostgreSQL and a Redis server with accounts, under production settings, and what fails there."""

import hashlib
import secrets
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import psycopg
import pytest

from loraforge.embedded.client import ApiClient, ApiError
from nodeagent.contract.normalise import normalise
from tests.agent.engine import engine_client
from tests.e2e.driver import (
    LiveStack,
    dataset_upload,
    job_wait,
    log_all,
    metric_file,
    sft_body,
    stack_running,
    trainer_pids,
    wait_for,
)
from tests.e2e.test_faults import assert_whole
from tests.redisserver import RedisServer
from tools.postgres import Postgres

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(400),
]

STEPS = 300
AWAY_S = 3.0
BOTH = pytest.mark.parametrize(
    "stack", ["process", pytest.param("docker", marks=pytest.mark.docker)], indirect=True
)
DOCKER = pytest.mark.parametrize(
    "stack", [pytest.param("docker", marks=pytest.mark.docker)], indirect=True
)
PROCESS = pytest.mark.parametrize("stack", ["process"], indirect=True)


@pytest.fixture(scope="module")
def redis_tcp(redis_server_binary: Path) -> Iterator[RedisServer]:
    with (
        tempfile.TemporaryDirectory(prefix="lf-redis-") as folder,
        RedisServer(redis_server_binary, Path(folder)) as server,
    ):
        yield server


@pytest.fixture(scope="module")
def stack(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    demo_folder: Path,
    postgres: Postgres,
    redis_tcp: RedisServer,
) -> Iterator[LiveStack]:
    """All services with ``request.param`` as runtime, on a database and a Redis of its own."""
    if request.param == "docker":
        engine_client().close()
    database = f"e2e_{request.param}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(f"create database {database}")
    redis_url = redis_tcp.url()
    # The second stack has another database of Redis: the first one's keys are still there.
    redis_url = redis_url.removesuffix("/0") + ("/1" if request.param == "docker" else "/0")
    with stack_running(
        tmp_path_factory.mktemp("lf", numbered=True),
        demo_folder,
        DJANGO_SETTINGS_MODULE="loraforge.settings.prod",
        DATABASE_URL=postgres.url.rpartition("/")[0] + f"/{database}",
        REDIS_URL=redis_url,
        LORAFORGE_REDIS_NODE_ACL="true",
        LORAFORGE_RUNTIME=request.param,
        LORAFORGE_SECRET_KEY=secrets.token_urlsafe(64),
        LORAFORGE_ALLOWED_HOSTS="127.0.0.1",
        LORAFORGE_SSL_REDIRECT="false",  # no proxy here that would speak TLS
    ) as live:
        live.user_add("alice")
        yield live
    if request.param == "docker":
        containers_forget(live)


def containers_forget(stack: LiveStack) -> None:
    """An agent that has ended removes nothing: the next stack on this engine has a job #1 as well."""
    client = docker.from_env()
    try:
        for found in client.containers.list(all=True, filters={"label": "lf.instance"}):
            if any(mount["Source"].startswith(f"{stack.data}/") for mount in found.attrs["Mounts"]):
                found.remove(force=True)
    finally:
        client.close()


@pytest.fixture(scope="module")
def alice(stack: LiveStack) -> Iterator[ApiClient]:
    with stack.api("alice") as api:
        yield api


@pytest.fixture(scope="module")
def dataset(alice: ApiClient, demo_folder: Path) -> dict[str, Any]:
    return dataset_upload(alice, demo_folder / "data.jsonl")


@pytest.fixture
def running(alice: ApiClient, demo_folder: Path, dataset: dict[str, Any]) -> int:
    """The number of a job in mid-training, long enough for the fault."""
    body = sft_body(demo_folder, dataset["id"], arguments={"max_steps": STEPS, "save_steps": 500})
    job = int(alice.post("jobs/", body)["id"])
    wait_for("some steps", lambda: alice.get(f"jobs/{job}/")["step"] >= 5, timeout_s=150)
    return job


def containers(stack: LiveStack, job: int) -> list[dict[str, Any]]:
    """Inspect of the containers that run this job of this stack."""
    client = docker.from_env()
    try:
        # the job's folder is mounted into it, and nowhere else
        return [
            dict(found.attrs)
            for found in client.containers.list(filters={"name": f"lf-{job}-a1"})
            if any(
                mount["Source"].startswith(str(stack.job_folder(job)))
                for mount in found.attrs["Mounts"]
            )
        ]
    finally:
        client.close()


def trainers(stack: LiveStack, job: int) -> list[str]:
    """What trains now: process ids, or the id of the container."""
    if stack.environment["LORAFORGE_RUNTIME"] == "process":
        return [str(pid) for pid in trainer_pids(stack.job_folder(job))]
    return [str(found["Id"]) for found in containers(stack, job)]


def answers(stack: LiveStack) -> bool:
    """The API answers, and every service has a process."""
    try:
        with stack.api("alice") as api:
            api.get("me/")
    except Exception:
        return False
    return all(stack.pid_of(name) for name in ("web", "control", "core", "nodeagent"))


@BOTH
def test_upload_train_download(
    stack: LiveStack, alice: ApiClient, demo_folder: Path, dataset: dict[str, Any]
) -> None:
    assert not (stack.data / "redis").exists(), "with REDIS_URL there is no embedded Redis"
    assert not (stack.data / "loraforge.sqlite3").exists()
    job = job_wait(
        alice, alice.post("jobs/", sft_body(demo_folder, dataset["id"]))["id"], timeout_s=200
    )
    assert job["state"] == "succeeded", job
    folder = stack.job_folder(job["id"], job["attempt"])
    console = (folder / "console.log").read_bytes()
    assert alice.request("GET", f"jobs/{job['id']}/log/download/").content == console
    assert log_all(alice, job["id"]) == normalise(console)
    rows = alice.get(f"jobs/{job['id']}/metrics/", limit=100)["rows"]
    assert [row["values"] for row in rows] == metric_file(folder)
    files = list(alice.pages(f"jobs/{job['id']}/artifacts/"))
    adapter = next(row for row in files if row["path"].endswith("adapter_model.safetensors"))
    data = alice.download(f"jobs/{job['id']}/artifacts/{adapter['path']}")
    assert hashlib.sha256(data).hexdigest() == adapter["sha256"]
    assert data == (folder / adapter["path"]).read_bytes()


@PROCESS
@pytest.mark.long  # the fault suite kills each of them for every change
@pytest.mark.parametrize("service", ["web", "control", "core"])
def test_a_service_killed_in_mid_training(
    stack: LiveStack, alice: ApiClient, running: int, service: str
) -> None:
    before = trainers(stack, running)
    stack.kill(service)
    wait_for("all services", lambda: answers(stack), timeout_s=60)
    assert trainers(stack, running) == before != []
    assert_whole(stack, alice, running)


@DOCKER
def test_the_profile_of_a_job_s_container(stack: LiveStack, alice: ApiClient, running: int) -> None:
    (found,) = containers(stack, running)
    host = found["HostConfig"]
    assert found["Config"]["User"] == "10001:10001"
    wanted = {
        "CapDrop": ["ALL"],
        "CapAdd": None,
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "ReadonlyRootfs": True,
        "NetworkMode": "none",
        "PidsLimit": 4096,
        "Init": True,
        "RestartPolicy": {"Name": "no", "MaximumRetryCount": 0},
    }
    assert {name: host[name] for name in wanted} == wanted
    assert host["Memory"] == host["MemorySwap"] > 0
    assert host["NanoCpus"] > 0
    assert host["ShmSize"] > 0
    assert found["Config"]["Labels"]["lf.instance"] == str(running)
    writable = {mount["Destination"] for mount in found["Mounts"] if mount["RW"]}
    assert writable == {"/lf/job"}
    alice.post(f"jobs/{running}/cancel/")
    assert job_wait(alice, running)["state"] == "stopped"
    wait_for("the container's end", lambda: not containers(stack, running))


@BOTH
def test_agent_killed_in_mid_training(stack: LiveStack, alice: ApiClient, running: int) -> None:
    before = trainers(stack, running)
    agent = stack.pid_of("nodeagent")
    stack.kill("nodeagent")
    wait_for("a new agent", lambda: stack.pid_of("nodeagent") not in {0, agent})
    assert trainers(stack, running) == before != []
    assert_whole(stack, alice, running)


def outage(
    stack: LiveStack,
    alice: ApiClient,
    job: int,
    *,
    down: Callable[[], None],
    back: Callable[[], None],
) -> None:
    """A server is away for a while in mid-training: no service ends, nothing is lost."""
    names = ("web", "control", "core", "nodeagent")
    services = [stack.pid_of(name) for name in names]
    trained_by = trainers(stack, job)
    down()
    time.sleep(AWAY_S)  # the outage itself
    assert trainers(stack, job) == trained_by != []
    back()
    wait_for("the API", lambda: answers(stack), timeout_s=60)
    assert [stack.pid_of(name) for name in names] == services
    step = alice.get(f"jobs/{job}/")["step"]
    wait_for(
        "progress after the outage",
        lambda: (
            (found := alice.get(f"jobs/{job}/"))["step"] > step or found["state"] == "succeeded"
        ),
    )
    assert_whole(stack, alice, job)


@PROCESS
def test_postgres_crashed_in_mid_training(
    stack: LiveStack, alice: ApiClient, running: int, postgres: Postgres
) -> None:
    outage(stack, alice, running, down=lambda: postgres.stop(how="immediate"), back=postgres.start)


@PROCESS
def test_redis_crashed_in_mid_training(
    stack: LiveStack, alice: ApiClient, running: int, redis_tcp: RedisServer
) -> None:
    outage(stack, alice, running, down=redis_tcp.kill, back=redis_tcp.start)


@PROCESS
def test_a_submit_while_redis_is_away_is_kept(
    stack: LiveStack,
    alice: ApiClient,
    demo_folder: Path,
    dataset: dict[str, Any],
    redis_tcp: RedisServer,
) -> None:
    redis_tcp.kill()
    try:
        began = time.monotonic()
        job = alice.post("jobs/", sft_body(demo_folder, dataset["id"]))
        took_s = time.monotonic() - began
    finally:
        redis_tcp.start()
    assert took_s < 2, "a request never waits for Redis"
    assert job_wait(alice, job["id"], timeout_s=200)["state"] == "succeeded"


@PROCESS
def test_without_the_database_it_says_so_and_is_not_ready(
    stack: LiveStack, alice: ApiClient, postgres: Postgres
) -> None:
    postgres.stop(how="immediate")
    try:
        with pytest.raises(ApiError) as caught:
            alice.get("jobs/")
    finally:
        postgres.start()
    assert (caught.value.status, caught.value.error_id) == (503, "core:database_away")
    wait_for("the API", lambda: answers(stack), timeout_s=60)
