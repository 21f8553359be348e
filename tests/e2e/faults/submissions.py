"""Many submits while services are killed all the time: whoever was told 201 has exactly one job that ran once."""

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import httpx

from loraforge.embedded.client import ApiClient, ApiError
from tests.e2e.driver import wait_for
from tests.e2e.faults.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 4
UNAVAILABLE = 503
SERVICES = ("web", "control", "relay", "ingest", "beat")


def submit_until_told(cluster: Cluster, api: ApiClient, dataset: int, key: str) -> int:
    """As a careful client does it: the same Idempotency-Key until there is an answer."""
    while True:
        try:
            return cluster.submit(api, dataset, key=key)
        except ApiError as error:
            if error.status != UNAVAILABLE:
                raise
        except httpx.TransportError:
            pass
        time.sleep(0.2)


class Killer:
    """kill -9 of one service or agent after the other, in seeded order and at seeded moments."""

    def __init__(
        self, cluster: Cluster, chance: random.Random, *, every_s: tuple[float, float]
    ) -> None:
        self._cluster = cluster
        self._victims: list[Callable[[], None]] = [
            *(cluster.plane[name].kill for name in SERVICES),
            *(node.agent.kill for node in cluster.nodes.values()),
        ]
        self._chance = chance
        self._every_s = every_s
        self._stopping = threading.Event()
        self._pool = ThreadPoolExecutor(1)
        self.count = 0

    def __enter__(self) -> "Killer":
        self._going_on = self._pool.submit(self._run)
        return self

    def __exit__(self, *_exc: object) -> None:
        """Raises what it met: a run in which the kills ended early proves nothing."""
        self._stopping.set()
        self._going_on.result()
        self._pool.shutdown()

    def _run(self) -> None:
        while not self._stopping.wait(self._chance.uniform(*self._every_s)):
            self._chance.choice(self._victims)()
            self.count += 1
            # a machine that only starts processes proves nothing: the next kill meets one that works
            wait_for("the API", self._cluster.answers)


def submit_many(cluster: Cluster, dataset: int, *, count: int, seed: int) -> list[int]:
    """All of them, by some clients at once; the jobs' numbers."""

    def one_client(number: int) -> list[int]:
        with cluster.api(timeout_s=20) as api:
            return [
                submit_until_told(cluster, api, dataset, f"{seed}-{count}-{number}-{turn}")
                for turn in range(count // CLIENTS)
            ]

    with ThreadPoolExecutor(CLIENTS) as pool:
        return [job for jobs in pool.map(one_client, range(CLIENTS)) for job in jobs]


def all_ended(cluster: Cluster, *, timeout_s: float) -> None:
    """Every job is over."""
    query = "select count(*) from instances_instance where state not in ('succeeded', 'failed', 'stopped', 'lost')"
    wait_for(
        "all jobs to end", lambda: not cluster.sql(query)[0][0], timeout_s=timeout_s, every_s=1
    )


def wrongly_run(cluster: Cluster, jobs: list[int]) -> list[str]:
    """Jobs that did not run exactly once, by the trainer's own book."""
    wrong = []
    if len(set(jobs)) != len(jobs):
        wrong.append("two submits were told the same job")
    for job in jobs:
        starts = cluster.node_of(job).job_folder(job) / "starts"
        lines = starts.read_text(encoding="ascii").splitlines() if starts.exists() else []
        if len(lines) != 1:
            wrong.append(f"job {job} started {len(lines)} times: {lines}")
        if cluster.job_state(job) != "succeeded":
            wrong.append(f"job {job} is {cluster.job_state(job)}")
    return wrong
