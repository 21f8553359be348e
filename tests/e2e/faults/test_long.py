"""Freezes and partitions with the times of real use, while two real trainings go on. `make faults`."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest

from tests.e2e.driver import wait_for
from tests.e2e.faults.cluster import NODES, PLANE, Cluster, Visitor
from tests.e2e.faults.invariants import Invariants
from tests.e2e.faults.processes import family, freeze_all, members, thaw_all, trainers

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.faults,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.timeout(900),
]

# Of real use, but for lost-after, which would take a quarter of an hour.
SETTINGS = {
    "LORAFORGE_NODE_SUSPECT_S": "20",
    "LORAFORGE_NODE_OFFLINE_S": "45",
    "LORAFORGE_NODE_LOST_S": "90",
    "LORAFORGE_RESTART_GRACE_S": "30",
}
LONGER_THAN_LOST_S = 110
PROMPT_S = 1.0  # P6
Way = Literal["both", "out", "in"]


def victims(cluster: Cluster, name: str) -> list[psutil.Process]:
    """The processes of a server, of a service, or of all services."""
    if name == "redis":
        return family(cluster.redis_server.pid)
    if name == "postgres":
        return family(cluster.postgres.pid)
    if name == "agent":
        return [psutil.Process(cluster.nodes["n1"].agent.pid)]
    names = PLANE if name == "everything" else (name,)
    return [psutil.Process(cluster.plane[one].pid) for one in names]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("name", "seconds"),
    [
        *((name, 20) for name in (*PLANE, "agent", "redis", "postgres")),
        *((name, 60) for name in ("everything", "agent", "redis", "postgres")),
    ],
)
def test_frozen(cluster: Cluster, trainings: dict[str, int], name: str, seconds: int) -> None:
    """Nobody is taken for dead for 20 s; whoever was is back afterwards."""
    frozen = victims(cluster, name)
    freeze_all(frozen)
    try:
        time.sleep(seconds)
        if name not in {"postgres"}:
            states = {node: cluster.node_state(node) for node in NODES}
            if seconds < int(SETTINGS["LORAFORGE_NODE_OFFLINE_S"]):
                assert set(states.values()) <= {"online", "suspect"}
            elif name == "agent":
                assert states["n1"] == "offline"
            else:
                assert "offline" not in states.values(), "deaf is not dead"
    finally:
        thaw_all(frozen)
    wait_for("the API", cluster.answers)
    for job in trainings.values():
        cluster.await_job(job, "running")


@pytest.mark.usefixtures("whole")
def test_no_request_waits_for_a_frozen_redis(cluster: Cluster, dataset: int) -> None:
    """P6: p99 of submit and cancel within a second, through a freeze of 20 s."""
    server, took_s = family(cluster.redis_server.pid), []
    with cluster.api() as api:
        api.get("me/")
        freeze_all(server)
        try:
            until = time.monotonic() + 20
            with Visitor(cluster) as visitor:
                while time.monotonic() < until:
                    began = time.monotonic()
                    job = cluster.submit(api, dataset)
                    took_s.append(time.monotonic() - began)
                    cluster.ask(api, job, "cancel")
                    took_s.append(time.monotonic() - began - took_s[-1])
        finally:
            thaw_all(server)
    took_s.sort()
    p99 = took_s[int(len(took_s) * 0.99)]
    print(
        f"{len(took_s)} requests with Redis frozen: p50 {took_s[len(took_s) // 2]:.3f} s, p99 {p99:.3f} s"
    )
    assert visitor.bad == []
    assert p99 <= PROMPT_S


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize(
    ("ways", "seconds"),
    [(("both", "out"), 20), (("in", "both"), 60), (("both", "in"), LONGER_THAN_LOST_S)],
)
def test_cut_off(
    cluster: Cluster, trainings: dict[str, int], ways: tuple[Way, Way], seconds: int
) -> None:
    """Cut off is not dead: whatever the platform thinks, the trainings go on and are known again."""
    for name, way in zip(NODES, ways, strict=True):
        cluster.nodes[name].machine.cut(way)
    try:
        time.sleep(seconds)
        states = {name: cluster.node_state(name) for name in NODES}
        if seconds < int(SETTINGS["LORAFORGE_NODE_SUSPECT_S"]) + 10:
            assert set(states.values()) <= {"online", "suspect"}
        else:
            wanted = "lost" if seconds == LONGER_THAN_LOST_S else "offline"
            assert set(states.values()) == {wanted}
            assert {cluster.job_state(job) for job in trainings.values()} == {"unknown"}
    finally:
        for name in NODES:
            cluster.nodes[name].machine.mend()
    for job in trainings.values():
        cluster.await_job(job, "running", timeout_s=120)


@pytest.mark.usefixtures("whole")
def test_what_may_be_replaced_ends_by_itself_beside_a_dead_agent(
    cluster: Cluster, dataset: int
) -> None:
    """No agent, no network: the training keeps the fence alone, and is over before the next one begins."""
    node = cluster.nodes["n1"]
    cluster.node_cordon("n2", cordoned=True)  # so that it begins on n1
    with cluster.api() as api:
        job = cluster.submit(api, dataset, on_node_lost="restart", max_steps=100_000)
    cluster.await_step(job, 3, timeout_s=300)
    cluster.node_cordon("n2", cordoned=False)
    folder = str(node.job_folder(job))
    assert folder in trainers(cluster.data)
    node.machine.cut("both")
    node.agent.kill(stay_down=True)
    try:
        wait_for("the training to end", lambda: folder not in trainers(cluster.data), timeout_s=100)
        assert first_attempt_is_over(cluster, job) is False, "nobody has said so yet"
        assert (cluster.job_state(job), checkpoints(node.job_folder(job) / "output") != set()) == (
            "unknown",
            True,
        )
        wait_for(
            "its replacement",
            lambda: str(cluster.nodes["n2"].job_folder(job, 2)) in trainers(cluster.data),
            timeout_s=180,
        )
    finally:
        node.machine.mend()
        node.agent.start()
    cluster.await_step(job, 5, timeout_s=300)
    with cluster.api() as api:
        cluster.ask(api, job, "cancel")
    cluster.await_job(job, "stopped", timeout_s=120)


@pytest.mark.usefixtures("whole")
def test_everything_at_once(cluster: Cluster, chance: random.Random) -> None:
    """Two minutes of kills and freezes of anything, in seeded order."""
    until = time.monotonic() + 120
    while time.monotonic() < until:
        name = chance.choice([*PLANE, "agent"])
        service = (
            cluster.nodes[chance.choice(NODES)].agent if name == "agent" else cluster.plane[name]
        )
        if chance.random() < 0.5:
            service.kill()
        else:
            service.freeze()
            time.sleep(chance.uniform(0, 5))
            service.thaw()
        time.sleep(chance.uniform(0, 3))
    wait_for("the API", cluster.answers)


def job_running(cluster: Cluster, dataset: int, **arguments: Any) -> int:
    """A further real training on n1, in its middle."""
    with cluster.api() as api:
        job = cluster.submit(api, dataset, node="n1", **arguments)
    cluster.await_step(job, 3, timeout_s=300)
    return job


@pytest.fixture
def kill_members(cluster: Cluster) -> Callable[[int], None]:
    """kill -9 of everything that belongs to a job, but not of its shim."""

    def kill(job: int) -> None:
        folder = str(cluster.nodes["n1"].job_folder(job))
        shims = set(trainers(cluster.data).get(folder, []))
        for pid, owner in list(members(cluster.data)):
            if owner == folder and pid not in shims:
                os.kill(pid, 9)

    return kill


@pytest.mark.usefixtures("whole")
def test_killed_while_it_saves(
    cluster: Cluster, dataset: int, kill_members: Callable[[int], None]
) -> None:
    """The half-written checkpoint is offered to nobody; the one before it is whole."""
    job = job_running(cluster, dataset, max_steps=100_000, save_steps=2)
    output = cluster.nodes["n1"].job_folder(job) / "output"
    seen = checkpoints(output)
    wait_for("a checkpoint in the making", lambda: checkpoints(output) - seen, every_s=0.001)
    kill_members(job)
    wait_for("the end of the attempt", lambda: first_attempt_is_over(cluster, job))
    cluster.await_job(job, "failed", "queued", "assigned", "preparing", "running")
    if cluster.job_state(job) != "failed":  # the platform may start it anew; once is enough here
        with cluster.api() as api:
            cluster.ask(api, job, "cancel")
        cluster.await_job(job, "stopped", "failed", timeout_s=120)


def first_attempt_is_over(cluster: Cluster, job: int) -> bool:
    query = "select ended_at from instances_attempt where instance_id = %s and number = 1"
    return cluster.sql(query, job)[0][0] is not None


def checkpoints(output: Path) -> set[str]:
    return {path.name for path in output.glob("**/checkpoint-*")}


def test_the_trainings_end_in_order(
    cluster: Cluster, trainings: dict[str, int], pids: dict[str, list[int]], invariants: Invariants
) -> None:
    with cluster.api() as api:
        for job in trainings.values():
            cluster.ask(api, job, "stop")
    for job in trainings.values():
        cluster.await_job(job, "stopped", timeout_s=120)
    invariants.settled("the end")
