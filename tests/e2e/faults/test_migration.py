"""A real training moves between two machines: same curve, never two runners, never no copy. `make faults`."""

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from loraforge.migration.states import Ending
from tests.e2e.driver import wait_for
from tests.e2e.faults.cluster import PLANE, Cluster
from tests.e2e.faults.processes import trainers

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.faults,
    pytest.mark.postgres,
    pytest.mark.redis,
    pytest.mark.timeout(900),
]

STEPS = 100_000
SEED = 4711
BEYOND = 15  # steps after the move that must lie on the same curve
SAME = 1e-4  # relative; the same arithmetic on the same machine
CHECKPOINT = ("adapter_model.safetensors", "optimizer.pt", "trainer_state.json")


class Watch:
    """Looks all the time how many trainers a job has, and how many whole copies of a checkpoint lie on disks."""

    def __init__(self, cluster: Cluster, job: int) -> None:
        self._cluster = cluster
        self._job = job
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.most_runners = 0
        self.fewest_copies = 99
        self.looks = 0

    def copies(self) -> list[Path]:
        found = []
        for node in self._cluster.nodes.values():
            for folder in (node.folder / "jobs" / str(self._job)).glob("a*/output/**/checkpoint-*"):
                found += [folder] if all((folder / name).exists() for name in CHECKPOINT) else []
        return found

    def _run(self) -> None:
        while not self._stopping.wait(0.15):
            try:
                self.fewest_copies = min(self.fewest_copies, len(self.copies()))
            except FileNotFoundError:
                continue  # a folder that was going while it was looked at
            runs = Counter(
                Path(folder).parent.name
                for folder, pids in trainers(self._cluster.data).items()
                for _pid in pids
            )
            self.most_runners = max(self.most_runners, runs[str(self._job)])
            self.looks += 1

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        self._thread.join()


def losses(cluster: Cluster, job: int) -> dict[int, float]:
    """Step -> loss; what a later attempt did anew counts."""
    rows = cluster.sql(
        "select m.step, m.values->>'loss' from telemetry_metricrow m"
        " join instances_attempt a on a.id = m.attempt_id where a.instance_id = %s"
        " and m.values->>'loss' is not null order by a.number, m.start",
        job,
    )
    return {int(step): float(loss) for step, loss in rows}


def move(cluster: Cluster, job: int) -> tuple[Any, ...]:
    """state, step, error, target's attempt of the job's newest move."""
    rows = cluster.sql(
        "select state, step, error, target_attempt from migration_migration"
        " where instance_id = %s order by id desc limit 1",
        job,
    )
    return rows[0]


def submit(cluster: Cluster, dataset: int, node: str) -> int:
    with cluster.api() as api:
        return cluster.submit(
            api, dataset, node=node, max_steps=STEPS, save_steps=STEPS, logging_steps=1, seed=SEED
        )


@pytest.mark.parametrize("dying", [False, True], ids=["calm", "killed at every step"])
def test_it_moves_on_the_same_curve(
    cluster: Cluster, dataset: int, chance: random.Random, dying: bool
) -> None:
    reference, job = submit(cluster, dataset, "n2"), submit(cluster, dataset, "n1")
    for one in (reference, job):
        cluster.await_step(one, 8, timeout_s=300)
    with cluster.api() as api:
        api.post(f"jobs/{job}/checkpoint/")
    with Watch(cluster, job) as first:
        wait_for("a first checkpoint", first.copies)
    began = time.monotonic()
    with Watch(cluster, job) as watch, cluster.api("carol") as api:
        api.post(f"jobs/{job}/migrate/", {"node": "n2"})
        seen: list[str] = []

        def has_ended() -> bool:
            state, step, *_rest = move(cluster, job)
            if step not in seen:
                seen.append(step)
                if dying:
                    _kill(cluster, chance)
            return bool(state != Ending.ACTIVE)

        wait_for("the move to end", has_ended, timeout_s=400, every_s=0.02)
        took_s = time.monotonic() - began
        state, _step, error, attempt = move(cluster, job)
        assert (state, error) == (Ending.DONE, ""), (state, error, seen)
        cluster.await_step(job, cluster.step(job) + BEYOND)
    print(f"moved in {took_s:.1f} s; steps seen: {seen}; {watch.looks} looks")
    assert cluster.node_of(job).name == "n2"
    assert watch.most_runners == 1
    assert watch.fewest_copies >= 1
    own, other = losses(cluster, job), losses(cluster, reference)
    last = max(own)
    wait_for("the other to come as far", lambda: max(losses(cluster, reference)) >= last)
    other = losses(cluster, reference)
    assert set(range(1, last + 1)) <= set(own), "a step is missing"
    off = {
        step: (loss, other[step])
        for step, loss in own.items()
        if abs(loss - other[step]) > SAME * abs(other[step])
    }
    assert not off, off
    assert attempt == cluster.sql("select attempt from instances_instance where id = %s", job)[0][0]
    # asked of the node once nobody is handed files any more, which takes minutes
    query = (
        "select a.number from artifacts_removal r join instances_attempt a on a.id = r.attempt_id"
        " where a.instance_id = %s"
    )
    assert cluster.sql(query, job) == [(1,)]
    with cluster.api() as api:
        for one in (reference, job):
            api.post(f"jobs/{one}/cancel/")
    for one in (reference, job):
        cluster.await_job(one, "stopped")


def _kill(cluster: Cluster, chance: random.Random) -> None:
    """The one that works at it, and another; their keeper starts them again."""
    cluster.plane["control"].kill()
    name = chance.choice([*PLANE, "n1", "n2"])
    service = cluster.nodes[name].agent if name in cluster.nodes else cluster.plane[name]
    if name != "control":
        service.kill()


def test_a_drained_node_is_empty_and_in_maintenance(cluster: Cluster, dataset: int) -> None:
    job = submit(cluster, dataset, "n1")
    cluster.await_step(job, 3, timeout_s=300)
    with cluster.api("carol") as api:
        api.post("nodes/n1/drain/", {"mode": "migrate"})
        cluster.await_node("n1", "maintenance", timeout_s=300)
        assert cluster.node_of(job).name == "n2"
        assert cluster.job_state(job) == "running"
        api.post("nodes/n1/uncordon/")
        cluster.await_node("n1", "online")
        api.post(f"jobs/{job}/cancel/")
    cluster.await_job(job, "stopped")


def test_at_the_deadline_what_runs_is_saved_and_the_node_in_maintenance(
    cluster: Cluster, dataset: int
) -> None:
    job = submit(cluster, dataset, "n1")
    cluster.await_step(job, 3, timeout_s=300)
    with cluster.api("carol") as api:
        api.post("nodes/n1/drain/", {"mode": "wait", "deadline_s": 5})
        cluster.await_node("n1", "maintenance", timeout_s=300)
        told = api.get(f"jobs/{job}/")
        assert told["state"] == "stopped"
        assert told["saved_step"] >= 3
        api.post("nodes/n1/uncordon/")
        cluster.await_node("n1", "online")
