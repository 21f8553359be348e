"""One installation for the cases of a file, with a real training on each of its two nodes."""

import os
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.driver import dataset_upload
from tests.e2e.faults.cluster import NODES, Cluster, cluster_running
from tests.e2e.faults.invariants import Invariants
from tests.e2e.faults.processes import family, trainers

STEPS = 100_000  # ended by the test


@pytest.fixture(scope="session")
def may_break() -> None:
    """Namespaces, partitions and frozen servers are root's."""
    if os.geteuid() != 0:
        pytest.skip("breaking networks and servers needs root")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whatever order was drawn: what ends the trainings of its file comes behind the file's other cases."""
    for item in [one for one in items if one.get_closest_marker("last")]:
        items.remove(item)
        place = max(index for index, one in enumerate(items) if one.path == item.path)
        items.insert(place + 1, item)


@pytest.fixture(scope="session")
def seed(request: pytest.FixtureRequest) -> int:
    """LORAFORGE_FAULTS_SEED makes a run again; the run says which it had."""
    found = int(os.environ.get("LORAFORGE_FAULTS_SEED") or 0) or int.from_bytes(os.urandom(3))
    print(f"LORAFORGE_FAULTS_SEED={found}")
    return found


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    """Not below pytest's own folders: PostgreSQL does not run as root."""
    with tempfile.TemporaryDirectory(prefix="lf-faults-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


@pytest.fixture(scope="module")
def cluster(
    may_break: None,
    data: Path,
    demo_folder: Path,
    redis_server_binary: Path,
    request: pytest.FixtureRequest,
) -> Iterator[Cluster]:
    """The control plane and two nodes; a module may have settings of its own in `SETTINGS`."""
    settings = getattr(request.module, "SETTINGS", {})
    with cluster_running(data, demo_folder, redis_server_binary, **settings) as live:
        for name in NODES:
            live.node_start(name)
        yield live


@pytest.fixture(scope="module")
def dataset(cluster: Cluster, demo_folder: Path) -> int:
    with cluster.api() as api:
        return int(dataset_upload(api, demo_folder / "data.jsonl")["id"])


@pytest.fixture(scope="module")
def trainings(cluster: Cluster, dataset: int) -> dict[str, int]:
    """Node -> a real training in its middle, which goes on through all cases."""
    with cluster.api() as api:
        jobs = {
            name: cluster.submit(
                api, dataset, node=name, max_steps=STEPS, save_steps=STEPS, logging_steps=5
            )
            for name in NODES
        }
    for job in jobs.values():
        cluster.await_step(job, 5, timeout_s=300)
    return jobs


@pytest.fixture(scope="module")
def invariants(cluster: Cluster, trainings: dict[str, int]) -> Invariants:
    """Hold already, and know what is normal."""
    found = Invariants(cluster)
    found.settled("the start")
    found.measure()
    return found


@pytest.fixture(scope="module")
def chance(seed: int) -> random.Random:
    return random.Random(seed)


@pytest.fixture(scope="module")
def pids(cluster: Cluster, invariants: Invariants) -> dict[str, list[int]]:
    """What trains, once it is known that all is well."""
    found = trainers(cluster.data)
    for shims in found.values():
        for shim in shims:
            for process in family(shim):
                process.nice(19)  # they are there to be watched, not to win
    return found


@pytest.fixture
def whole(
    cluster: Cluster,
    trainings: dict[str, int],
    pids: dict[str, list[int]],
    invariants: Invariants,
    request: pytest.FixtureRequest,
) -> Iterator[None]:
    """After the case: the same processes train, they get on, and everything holds."""
    yield
    assert trainers(cluster.data) == pids
    cluster.heard()
    before = {job: cluster.step(job) for job in trainings.values()}
    for job, step in before.items():
        cluster.await_step(job, step + 1)
    invariants.settled(request.node.name)
    assert trainers(cluster.data) == pids
