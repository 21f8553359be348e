"""A full disk at each place: said in words, nothing lost, and on it goes once there is room. `make faults`."""

import secrets
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from loraforge.embedded.client import ApiClient, ApiError
from tests.e2e.driver import dataset_upload, wait_for
from tests.e2e.faults.cluster import NODES, Cluster, cluster_running
from tests.e2e.faults.invariants import Invariants

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.faults,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.timeout(900),
]

MIB = 1024**2
SIZES = {"postgres": 400, "redis": 48, "plane": 64, "n1": 256}  # MiB
STEPS = 400
NOTES = 10_000  # characters


@pytest.fixture(scope="module")
def data(may_break: None) -> Iterator[Path]:
    """Each part on a small disk of its own."""
    folder = Path(tempfile.mkdtemp(prefix="lf-faults-"))
    folder.chmod(0o711)
    try:
        for name, size in SIZES.items():
            (folder / name).mkdir()
            options = f"size={size}m,mode={'0700' if name == 'n1' else '0755'}"
            subprocess.run(
                ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder / name)], check=True
            )
        yield folder
    finally:
        for name in SIZES:
            subprocess.run(["umount", "--lazy", str(folder / name)], check=False)
        subprocess.run(["rm", "-rf", str(folder)], check=False)


@pytest.fixture(scope="module")
def cluster(data: Path, demo_folder: Path, redis_server_binary: Path) -> Iterator[Cluster]:
    with cluster_running(
        data, demo_folder, redis_server_binary, LORAFORGE_UPLOAD_RESERVE_BYTES=str(MIB)
    ) as live:
        for name in NODES:
            live.node_start(name)
        yield live


@pytest.fixture(scope="module")
def invariants(cluster: Cluster, dataset: int) -> Invariants:
    found = Invariants(cluster)
    found.settled("the start")
    return found


@contextmanager
def full(folder: Path) -> Iterator[None]:
    """Not a byte is left in this folder while the block lasts."""
    filler = folder / "filler"
    try:
        with filler.open("wb") as file:
            try:
                while True:
                    file.write(b"\0" * 65536)
                    file.flush()
            except OSError:
                pass
        yield
    finally:
        filler.unlink(missing_ok=True)


def trained(cluster: Cluster, dataset: int, node: str) -> int:
    """A real training in its middle."""
    with cluster.api() as api:
        job = cluster.submit(api, dataset, node=node, max_steps=STEPS, save_steps=STEPS)
    cluster.await_step(job, 3, timeout_s=300)
    return job


def test_of_uploads(cluster: Cluster, demo_folder: Path, invariants: Invariants) -> None:
    """The upload is refused with the reason; other work goes on."""
    with cluster.api() as api, full(cluster.data / "plane"):
        with pytest.raises(ApiError) as caught:
            dataset_upload(api, demo_folder / "data.jsonl")
        assert caught.value.status == 507
        api.get("jobs/")
    invariants.settled("a full disk of uploads")


def test_of_redis(cluster: Cluster, dataset: int, invariants: Invariants) -> None:
    """It refuses every write; a training goes on, a submit is accepted, both are whole afterwards."""
    job = trained(cluster, dataset, "n2")
    with full(cluster.data / "redis"):
        client = cluster.redis()
        wait_for("Redis to refuse", lambda: refuses(client))
        with cluster.api() as api:
            later = cluster.submit(api, dataset, max_steps=2)
    cluster.await_job(job, "succeeded", timeout_s=300)
    cluster.await_job(later, "succeeded", timeout_s=300)
    invariants.settled("a full disk of Redis")


def refuses(client: object) -> bool:
    try:
        client.set("lf:faults", "x" * 65536)  # type: ignore[attr-defined]
    except Exception:
        return True
    return False


def test_of_the_database(cluster: Cluster, dataset: int, invariants: Invariants) -> None:
    """No request gets more than a declared 503; what was accepted before is whole afterwards."""
    job = trained(cluster, dataset, "n2")
    with cluster.api(timeout_s=60) as api:
        api.get(
            "me/"
        )  # signed in while there is room: the server may end before the first write of ours
        try:
            with full(cluster.data / "postgres"):
                answers = refusals(cluster, api, job)
        finally:
            if not postgres_runs(cluster):
                cluster.postgres.start()
    assert answers == [(503, "core:database_away")]
    wait_for("the API", cluster.answers)
    cluster.await_job(job, "succeeded", timeout_s=300)
    invariants.settled("a full disk of the database")


def refusals(cluster: Cluster, api: ApiClient, job: int) -> list[tuple[int, str]]:
    """What a request that writes a lot is told, at last; empty = it was never refused."""
    for _number in range(100):
        try:
            api.request("PATCH", f"jobs/{job}/", json={"notes": secrets.token_hex(NOTES // 2)})
        except ApiError as error:
            return [(error.status, error.error_id)]
        cluster.asked.append((job, "instances:update"))
    return []


def postgres_runs(cluster: Cluster) -> bool:
    try:
        return Path(f"/proc/{cluster.postgres.pid}").exists()
    except FileNotFoundError:
        return False


def test_of_a_node(cluster: Cluster, dataset: int, invariants: Invariants) -> None:
    """A training that cannot write may fail and says why; its end is told as soon as there is room."""
    job = trained(cluster, dataset, "n1")
    node = cluster.nodes["n1"]
    with full(node.folder), cluster.api() as api:
        other = cluster.submit(api, dataset, node="n1", max_steps=2)
        cluster.heard()
        node.agent.kill()  # it comes up with a full disk, or as soon as there is room
    cluster.await_node("n1", "online")
    ended = ("succeeded", "failed")
    for one in (job, other):
        cluster.await_job(one, *ended, timeout_s=300)
        reason = cluster.sql("select failure_reason from instances_instance where id = %s", one)[0][
            0
        ]
        assert not reason.startswith(("user:", "code:")), reason
    for ends in (node.agent.ends,):
        assert set(ends) <= {-9, 75}
        node.agent.killed = len(ends)  # those that it ended by itself said why
    invariants.settled("a full disk of a node")
