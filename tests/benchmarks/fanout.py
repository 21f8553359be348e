"""500 watchers, 100 frames a second: how many arrive, how late, at what cost; beside a hand-made server."""

import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

import django
import msgspec
import redis

from tests.benchmarks.stage import ROOT, Stage, cpu_s, free_port, wait_for_port

PER_USER = 10


@dataclass(frozen=True)
class Load:
    """What both servers are given."""

    path: str
    cookies: list[str]
    watchers: int
    rate: int  # frames a second
    frames: int


def run(
    stage: Stage, *, watchers: int = 500, rate: int = 100, seconds: float = 8.0
) -> dict[str, Any]:
    """Both runs, one after the other on the same machine."""
    django.setup()
    cookies, path = _rows(watchers)
    load = Load(path, cookies, watchers, rate, int(rate * seconds))
    ours = _measure(stage, load, *stage.web())
    port = free_port()
    process = stage.start(
        sys.executable, "-m", "tests.benchmarks.floor", str(port), stage.redis_url
    )
    wait_for_port(port, process)
    floor = _measure(stage, load, port, process)
    return {
        "watchers": watchers,
        "frames_per_s": rate,
        "seconds": seconds,
        "ours": ours,
        "floor": floor,
    }


def _rows(watchers: int) -> tuple[list[str], str]:
    """Operators who all look at one job; ten sockets each."""
    # Django's models can be imported only after the stage chose the data folder.
    from tests.benchmarks.rows import running_job, session_cookies  # noqa: PLC0415

    instance = running_job()
    return session_cookies(
        -(-watchers // PER_USER)
    ), f"/ws/jobs/{instance.pk}/?log_after=1:0&metric_after=1:0"


def _measure(
    stage: Stage, load: Load, port: int, server: "subprocess.Popen[bytes]"
) -> dict[str, Any]:
    listening = subprocess.Popen(
        [
            sys.executable, "-m", "tests.benchmarks.watchers",
            str(port), load.path, str(load.watchers), str(load.frames), *load.cookies,
        ],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert listening.stdin is not None
    assert listening.stdout is not None
    assert listening.stdout.readline() == b"ready\n", "the watchers did not all get in"
    used = cpu_s(server)
    _publish(stage, load)
    listening.stdin.write(b"sent\n")
    listening.stdin.flush()
    answer: dict[str, Any] = msgspec.json.decode(listening.stdout.readline())
    listening.wait(30)
    deliveries = load.frames * load.watchers
    return {
        "delivered_percent": round(100 * answer.pop("received") / deliveries, 2),
        **answer,
        "cpu_s_per_million": round((cpu_s(server) - used) * 1e6 / deliveries, 2),
    }


def _publish(stage: Stage, load: Load) -> None:
    from loraforge.core import live  # noqa: PLC0415

    client = redis.Redis.from_url(stage.redis_url)
    topic = live.topic_job(int(load.path.split("/")[3]))
    begin, position = time.monotonic(), 0
    for number in range(load.frames):
        time.sleep(max(0.0, begin + number / load.rate - time.monotonic()))
        line = (
            f"{time.time_ns()} {{'loss': '1.2345', 'grad_norm': '0.9876', 'learning_rate': '1e-4'}}"
        )
        end = position + len(line) + 1
        frame = {
            "type": "log",
            "attempt": 1,
            "from": position,
            "to": end,
            "lines": [line],
            "partial": "",
        }
        live.publish(client, [(topic, frame)])
        position = end
