"""The most telling faults while two real trainings go on: nothing lost, nothing twice, same processes."""

import random
import statistics
import time
from typing import Any

import pytest

from loraforge.embedded.client import ApiClient
from nodeagent.contract.channels import command_queue
from tests.e2e.driver import wait_for
from tests.e2e.faults.cluster import NODES, PLANE, SET_WRONG, Cluster, Visitor
from tests.e2e.faults.invariants import Invariants
from tests.e2e.faults.processes import family, freeze_all, thaw_all

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]

SUBMITS = 15
# A request that waited for Redis would take at least one of its time-outs.
NOT_WAITING_S = 1.0


@pytest.mark.usefixtures("whole")
def test_every_service_of_the_control_plane_killed(cluster: Cluster, chance: random.Random) -> None:
    for name in chance.sample(PLANE, len(PLANE)):
        cluster.plane[name].kill()
        time.sleep(chance.uniform(0, 0.5))
    wait_for("the API", cluster.answers)


@pytest.mark.usefixtures("whole")
def test_agents_killed(cluster: Cluster) -> None:
    for node in cluster.nodes.values():
        node.agent.kill()
    cluster.heard()


@pytest.mark.usefixtures("whole")
def test_redis_and_database_killed(cluster: Cluster, chance: random.Random) -> None:
    cluster.redis_server.kill()
    server = family(cluster.postgres.pid)
    server[0].kill()
    time.sleep(chance.uniform(0.5, 2))
    wait_for("the database's processes to end", lambda: not any(one.is_running() for one in server))
    cluster.postgres.start()
    cluster.redis_server.start()
    wait_for("the API", cluster.answers)


@pytest.mark.usefixtures("whole")
def test_redis_frozen_makes_no_request_wait(cluster: Cluster, dataset: int) -> None:
    server = family(cluster.redis_server.pid)
    took_s = []
    with cluster.api() as api:
        api.get("me/")
        freeze_all(server)
        try:
            with Visitor(cluster) as visitor:
                for _number in range(SUBMITS):
                    began = time.monotonic()
                    job = cluster.submit(api, dataset)
                    cluster.ask(api, job, "cancel")
                    took_s.append(time.monotonic() - began)
        finally:
            thaw_all(server)
    assert visitor.bad == []
    assert statistics.median(took_s) / 2 < NOT_WAITING_S, took_s


@pytest.mark.usefixtures("whole")
def test_redis_emptied(cluster: Cluster) -> None:
    cluster.redis().flushall()


@pytest.mark.usefixtures("whole")
def test_cut_off_both_ways_and_one_way(cluster: Cluster, trainings: dict[str, int]) -> None:
    """Until both nodes are offline: their trainings are unknown, go on, and are running again."""
    cluster.nodes["n1"].machine.cut("both")
    cluster.nodes["n2"].machine.cut("out")
    try:
        for name in NODES:
            cluster.await_node(name, "offline")
            assert cluster.job_state(trainings[name]) == "unknown"
    finally:
        for name in NODES:
            cluster.nodes[name].machine.mend()
    for name in NODES:
        cluster.await_job(trainings[name], "running")


@pytest.mark.usefixtures("whole")
def test_commands_late_twice_and_in_the_wrong_order(cluster: Cluster, dataset: int) -> None:
    """A start and the cancel after it lie in the queue; the agent gets the cancel first, and each twice."""
    node = cluster.nodes["n1"]
    queue, client = command_queue("n1"), cluster.redis()
    with cluster.api() as api:
        node.agent.freeze()
        try:
            job = cluster.submit(api, dataset, node="n1")
            wait_for("its start in the queue", lambda: waiting(client, queue))
            cluster.ask(api, job, "cancel")
            wait_for("its cancel too", lambda: len(waiting(client, queue)) >= 2)
            messages = waiting(client, queue)
            client.delete(queue)
            client.rpush(queue, *messages, *reversed(messages))
        finally:
            node.agent.thaw()
        cluster.await_job(job, "stopped")
    assert not (node.job_folder(job) / "console.log").exists(), "it never ran"


def waiting(client: Any, queue: str) -> list[bytes]:
    """The commands in a node's queue, without the agent's own canary."""
    return [one for one in client.lrange(queue, 0, -1) if b"nodeagent.command" in one]


@pytest.mark.usefixtures("whole")
@pytest.mark.parametrize("off_s", [7200, -7200])
def test_a_clock_that_jumps_changes_nothing(
    cluster: Cluster, trainings: dict[str, int], off_s: float
) -> None:
    """The node stays, its training gets on, its files can be fetched, and a command is done once."""
    node, job = cluster.nodes[SET_WRONG], trainings[SET_WRONG]
    node.clock_set(off_s)
    try:
        cluster.heard()
        step = cluster.step(job)
        cluster.await_step(job, step + 1)
        with cluster.api() as api:
            data = api.request("GET", f"jobs/{job}/log/download/").content
            cluster.ask(api, job, "checkpoint")
        assert data[:1000] == (node.job_folder(job) / "console.log").read_bytes()[:1000]
        assert cluster.node_state(SET_WRONG) == "online"
    finally:
        node.clock_set(0)


@pytest.mark.last
def test_a_training_moves_to_the_other_node(
    cluster: Cluster, trainings: dict[str, int], invariants: Invariants
) -> None:
    """Its curve, and a kill at every step: `test_migration`."""
    job = trainings["n1"]
    cluster.await_job(job, "running")  # the faults before may have cut its node off for a moment
    before = cluster.step(job)
    with cluster.api() as api:
        api.post(f"jobs/{job}/migrate/", {"node": "n2"})

        def newest() -> dict[str, Any]:
            return dict(api.get(f"jobs/{job}/migrations/")["results"][0])

        wait_for("the move to end", lambda: newest()["state"] != "active", timeout_s=300)
        move = newest()
    assert (move["state"], move["error"], move["target_attempt"]) == ("done", "", 2)
    assert move["checkpoint_step"] >= before
    assert cluster.node_of(job).name == "n2"
    cluster.await_step(job, move["checkpoint_step"] + 1)
    invariants.settled("the move")


@pytest.mark.last
def test_stopped_saves_and_a_deaf_trainer_is_killed(
    cluster: Cluster, trainings: dict[str, int], pids: dict[str, list[int]], invariants: Invariants
) -> None:
    """One hears SIGTERM and saves; n2's first is frozen, as good as one that ignores it."""
    deaf = str(cluster.nodes["n2"].job_folder(trainings["n2"]))
    frozen = family(pids[deaf][0])[1:]
    freeze_all(frozen)
    with cluster.api() as api:
        for job in trainings.values():
            cluster.ask(api, job, "stop")
        for job in trainings.values():
            cluster.await_job(job, "stopped")
        assert saved_step(api, trainings["n1"]) > 0
        assert saved_step(api, trainings["n2"]) == 0
    invariants.settled("the stop")


def saved_step(api: ApiClient, job: int) -> int:
    return int(api.get(f"jobs/{job}/").get("saved_step") or 0)
