"""The list of 50 out of 10,000 jobs over HTTP, beside a server that only sends the same bytes."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import httpx

from tests.benchmarks.running import Running, percentiles
from tests.benchmarks.stage import ROOT, free_port, wait_for_port

JOBS = 10_000
PATH = "/api/v1/jobs/?page_size=50"
ROUNDS = 5
REQUESTS = 60


@contextmanager
def bare(body: Path) -> Iterator[str]:
    """`tests.benchmarks.bare` on uvicorn with the stack's flags; its URL."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "tests.benchmarks.bare:application", "--host",
         "127.0.0.1", "--port", str(port), "--no-access-log", "--no-server-header",
         "--log-level", "warning"],
        cwd=ROOT, env={**os.environ, "BENCH_BODY": str(body)},
    )  # fmt: skip
    try:
        wait_for_port(port, process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def run(stack: Running) -> dict[str, Any]:
    """API and page; ours and the floor take turns."""
    token = stack.token  # also makes the user
    few = stack.seed("jobs", "10")
    many = stack.seed("jobs", str(JOBS))
    if any(many[name] > few[name] for name in few):  # a long list's total may be remembered
        raise RuntimeError(f"the number of queries grows with the rows: {few}, {many}")
    cookie = stack.seed("cookie")
    body = stack.data / "body.json"
    with httpx.Client(base_url=stack.url, timeout=60) as ours:
        page = {"Cookie": f"{cookie['name']}={cookie['value']}"}
        answer = ours.get(PATH, headers={"Authorization": token})
        rows = answer.raise_for_status().json()
        assert (rows["count"] >= JOBS, len(rows["results"])) == (True, 50), answer.text[:300]
        body.write_bytes(answer.content)
        with bare(body) as url, httpx.Client(base_url=url) as floor:
            timed = _turns(
                {
                    "api": lambda: ours.get(PATH, headers={"Authorization": token}),
                    "page": lambda: ours.get("/jobs/", headers=page),
                    "floor": lambda: floor.get("/json"),
                }
            )
    return {
        **{f"{name}_ms": values for name, values in timed.items()},
        "ratio_p50": round(timed["api"]["p50"] / timed["floor"]["p50"], 1),
        "bytes": body.stat().st_size,
        "jobs": rows["count"],
        **many,
    }


def _turns(asked: dict[str, Any]) -> dict[str, dict[str, float]]:
    rounds: dict[str, list[dict[str, float]]] = {name: [] for name in asked}
    for number in range(ROUNDS + 1):
        for name, ask in asked.items():
            found = []
            for _request in range(REQUESTS if number else 10):
                begin = time.perf_counter()
                ask().raise_for_status()
                found.append((time.perf_counter() - begin) * 1000)
            if number:
                rounds[name].append(percentiles(found, digits=2))
    return {
        name: {key: round(median(one[key] for one in values), 2) for key in values[0]}
        for name, values in rounds.items()
    }
