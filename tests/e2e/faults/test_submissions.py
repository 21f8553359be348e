"""P1 and P2: no accepted job is lost, none runs twice, whatever is killed meanwhile."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.driver import dataset_upload
from tests.e2e.faults.cluster import NODES, Cluster, cluster_running
from tests.e2e.faults.invariants import Invariants
from tests.e2e.faults.submissions import Killer, all_ended, submit_many, wrongly_run

TRAINER = Path(__file__).with_name("trainer.py")

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
]


@pytest.fixture(scope="module")
def cluster(
    may_break: None, data: Path, demo_folder: Path, redis_server_binary: Path
) -> Iterator[Cluster]:
    """With a trainer that only writes down that it ran."""
    with cluster_running(data, demo_folder, redis_server_binary) as live:
        for name in NODES:
            live.node_start(name, LORAFORGE_SWIFT_PYTHON=str(TRAINER))
        yield live


def submissions(
    cluster: Cluster, demo: Path, *, count: int, seed: int, every_s: tuple[float, float]
) -> None:
    with cluster.api() as api:
        dataset = int(dataset_upload(api, demo / "data.jsonl")["id"])
    invariants = Invariants(cluster)
    invariants.settled("the start")
    with Killer(cluster, random.Random(seed), every_s=every_s) as killer:
        jobs = submit_many(cluster, dataset, count=count, seed=seed)
    print(f"{count} submits, {killer.count} kills")
    all_ended(cluster, timeout_s=max(180, count * 2))
    assert killer.count > 0
    assert wrongly_run(cluster, jobs) == []
    invariants.settled(f"{count} submits and {killer.count} kills", patience_s=120)


@pytest.mark.faults
@pytest.mark.timeout(3600)
def test_a_thousand_submits_while_everything_is_killed(
    cluster: Cluster, demo_folder: Path, seed: int
) -> None:
    submissions(cluster, demo_folder, count=1000, seed=seed, every_s=(0.5, 8.0))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_some_submits_while_everything_is_killed(
    cluster: Cluster, demo_folder: Path, seed: int
) -> None:
    submissions(cluster, demo_folder, count=40, seed=seed, every_s=(0.5, 3.0))
