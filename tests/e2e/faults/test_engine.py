"""A Docker engine that dies and hangs under a real training, with and without live-restore. `make faults`."""

import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import docker
import pytest

from loraforge.migration.states import Ending
from nodeagent.config import SWIFT_IMAGE
from tests.agent.engine import PrivateEngine, engine_client
from tests.e2e.driver import dataset_upload, wait_for
from tests.e2e.faults.cluster import Cluster, cluster_running
from tests.e2e.faults.invariants import Invariants
from tests.e2e.faults.processes import family, freeze_all, thaw_all

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.docker,
    pytest.mark.faults,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.timeout(900),
]

# Of real use: a hung engine must not make its node look dead.
SETTINGS = {"LORAFORGE_NODE_SUSPECT_S": "20", "LORAFORGE_NODE_OFFLINE_S": "45"}
STEPS = 100_000


@pytest.fixture(scope="module")
def engine(may_break: None) -> Iterator[PrivateEngine]:
    """An engine of one's own with the training image; the machine's is not touched."""
    engine_client().close()
    with tempfile.TemporaryDirectory(prefix="lf-e-", ignore_cleanup_errors=True) as name:
        found = PrivateEngine(Path(name))
        try:
            client = found.start()
            client.close()
            save = subprocess.Popen(["docker", "save", SWIFT_IMAGE], stdout=subprocess.PIPE)
            subprocess.run(["docker", "--host", found.url, "load"], stdin=save.stdout, check=True)
            assert save.wait() == 0
            yield found
        finally:
            found.close()


@pytest.fixture(scope="module")
def cluster(
    data: Path, demo_folder: Path, redis_server_binary: Path, engine: PrivateEngine
) -> Iterator[Cluster]:
    """n1 has containers, n2 plain processes."""
    for path in (demo_folder, *demo_folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    for parent in demo_folder.parents[:3]:
        parent.chmod(parent.stat().st_mode | 0o055)
    with cluster_running(data, demo_folder, redis_server_binary, **SETTINGS) as live:
        live.engine = engine_of(engine)
        live.node_start("n1", runtime="docker", DOCKER_HOST=engine.url)
        live.node_start("n2")
        yield live
        live.engine.close()


def engine_of(engine: PrivateEngine) -> docker.APIClient:
    client = engine._client()
    assert client is not None
    return client


@pytest.fixture(scope="module")
def job(cluster: Cluster, demo_folder: Path) -> int:
    """In its middle, in a container."""
    with cluster.api() as api:
        dataset = int(dataset_upload(api, demo_folder / "data.jsonl")["id"])
        found = cluster.submit(api, dataset, node="n1", max_steps=STEPS, save_steps=STEPS)
    cluster.await_step(found, 5, timeout_s=300)
    return found


@pytest.fixture(scope="module")
def invariants(cluster: Cluster, job: int) -> Invariants:
    found = Invariants(cluster)
    found.settled("the start")
    found.measure()
    return found


def pid_of(cluster: Cluster, job: int) -> tuple[str, int]:
    assert cluster.engine is not None
    found = cluster.engine.inspect_container(f"lf-{job}-a1")
    return str(found["Id"]), int(found["State"]["Pid"])


def test_hangs(cluster: Cluster, engine: PrivateEngine, job: int, invariants: Invariants) -> None:
    """The node is alive, and so is its training; nobody is told otherwise."""
    before, step = pid_of(cluster, job), cluster.step(job)
    assert engine._dockerd is not None
    frozen = family(engine._dockerd.pid)
    freeze_all(frozen)
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            assert cluster.node_state("n1") == "online"
            time.sleep(1)
        assert cluster.job_state(job) == "running"
    finally:
        thaw_all(frozen)
    cluster.await_step(job, step + 1)
    assert pid_of(cluster, job) == before
    invariants.settled("a hung engine", patience_s=120)


def test_dies_with_live_restore(
    cluster: Cluster, engine: PrivateEngine, job: int, invariants: Invariants
) -> None:
    """The same container with the same process, before, meanwhile and after."""
    before = pid_of(cluster, job)
    engine.kill()
    assert Path(f"/proc/{before[1]}").exists()
    time.sleep(5)
    engine.start().close()
    step = cluster.step(job)
    cluster.await_step(job, step + 1)
    assert pid_of(cluster, job) == before
    invariants.settled("a dead engine", patience_s=120)


def test_agent_and_engine_die_together(
    cluster: Cluster, engine: PrivateEngine, job: int, invariants: Invariants
) -> None:
    before = pid_of(cluster, job)
    engine.kill()
    cluster.nodes["n1"].agent.kill(stay_down=True)
    engine.start().close()
    cluster.nodes["n1"].agent.start()
    cluster.heard()
    step = cluster.step(job)
    cluster.await_step(job, step + 1)
    assert pid_of(cluster, job) == before
    invariants.settled("a dead agent and a dead engine", patience_s=120)


def has_ended(cluster: Cluster, move: int) -> bool:
    rows = cluster.sql("select state from migration_migration where id = %s", move)
    return bool(rows[0][0] != Ending.ACTIVE)


def test_a_training_moves_out_of_its_container_and_back(
    cluster: Cluster, demo_folder: Path
) -> None:
    """n1's files are a container's, n2's a plain process's; each goes on from what the other saved."""
    with cluster.api() as api:
        dataset = int(dataset_upload(api, demo_folder / "data.jsonl")["id"])
        job = cluster.submit(api, dataset, node="n1", max_steps=STEPS, save_steps=STEPS)
        cluster.await_step(job, 5, timeout_s=300)
        for name in ("n2", "n1"):
            step = cluster.step(job)
            move = int(api.post(f"jobs/{job}/migrate/", {"node": name})["id"])
            wait_for(f"the move to {name} to end", partial(has_ended, cluster, move), timeout_s=400)
            query = "select state, error, checkpoint_step from migration_migration where id = %s"
            state, error, saved = cluster.sql(query, move)[0]
            assert (state, error) == (Ending.DONE, "")
            assert saved >= step
            assert cluster.node_of(job).name == name
            cluster.await_step(job, saved + 1)
        ours = [one for one in cluster.containers() if one.startswith(f"lf-{job}-")]
        assert ours == [f"lf-{job}-a3"]
        cluster.ask(api, job, "cancel")
        cluster.await_job(job, "stopped")


def test_dies_without_live_restore(
    cluster: Cluster, engine: PrivateEngine, job: int, invariants: Invariants
) -> None:
    """The engine ends its containers: that is the node's fault, never the owner's."""
    engine.kill()
    engine.start(live_restore=False).close()
    engine.kill()
    engine.start(live_restore=False).close()
    cluster.await_job(job, "failed", "queued", "assigned", "preparing", timeout_s=180)
    told = cluster.sql(
        "select reason from instances_instanceevent where instance_id = %s and target in ('failed', 'queued')"
        " order by id desc limit 1",
        job,
    )
    assert told[0][0].startswith("node:"), told
    with cluster.api() as api:
        if cluster.job_state(job) != "failed":
            cluster.ask(api, job, "cancel")
            cluster.await_job(job, "stopped", "failed", timeout_s=180)
    invariants.settled("an engine without live-restore", patience_s=120)
