"""The real embedded stack as `manage.py up` starts it, with a trainer that only writes lines."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec

from loraforge.embedded.client import ApiClient
from nodeagent.config import SWIFT_IMAGE
from tests.benchmarks.stage import ROOT
from tests.e2e.driver import LiveStack, dataset_upload, free_port, job_wait

IMAGE = "loraforge/bench:latest"
TRAINER_SOURCE = Path(__file__).with_name("trainer.py")
USER = "bench"
ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


class Running(LiveStack):
    """The stack, and a user with a dataset in it. up_s: seconds that starting took.

    image: what jobs run in, empty for plain processes.
    """

    up_s: float = 0.0
    image: str = ""

    @property
    def trainer(self) -> Path:
        """What the node agent takes for the training environment's Python."""
        return self.data / "trainer"

    @cached_property
    def client(self) -> ApiClient:
        """Of the user; made on first use."""
        self.user_add(USER)
        return self.api(USER)

    @cached_property
    def dataset(self) -> int:
        """A small one."""
        path = self.data / "rows.jsonl"
        path.write_text((json.dumps(ROW) + "\n") * 100, encoding="utf-8")
        return int(dataset_upload(self.client, path)["id"])

    @cached_property
    def model(self) -> str:
        """A folder that looks like one; a model of a hub would be fetched first."""
        folder = self.data / "model"
        folder.mkdir()
        config = {"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}
        (folder / "config.json").write_text(json.dumps(config))
        return str(folder)

    def job(self, *, lines: int, start: bool) -> int:
        """A job that writes so many lines; its model is never loaded by anybody."""
        body = {
            "name": "bench",
            "command": "sft",
            "model": self.model,
            "datasets": [self.dataset],
            "gpus": 1,
            "start": start,
            "arguments": {"tuner_type": "lora", "max_steps": lines},
        }
        return int(self.client.post("jobs/", body)["id"])

    def job_end(self, job_id: int) -> dict[str, Any]:
        """Wait for the end, whatever it is."""
        return job_wait(self.client, job_id)

    def seed(self, *words: str) -> Any:
        """`tests.benchmarks.seed` inside this installation; gives its answer."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.seed", *words],
            cwd=ROOT, env=self.environment, check=True, capture_output=True, timeout=300,
        )  # fmt: skip
        return msgspec.json.decode(done.stdout.splitlines()[-1])

    @property
    def token(self) -> str:
        """An access token, fresh enough."""
        return self.client.request("GET", "me/").request.headers["Authorization"]


@contextmanager
def running(*, runtime: str = "process") -> Iterator[Running]:
    """Started, with nothing in it; ended with its jobs."""
    mine = ("DJANGO_", "LORAFORGE_", "REDIS_URL")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(mine)}
    # A short folder: the unix socket of Redis lies in it.
    with tempfile.TemporaryDirectory(prefix="lfb-", ignore_cleanup_errors=True) as name:
        port = free_port()
        environment = kept | {
            "LORAFORGE_DATA": name,
            "LORAFORGE_PORT": str(port),
            "LORAFORGE_RUNTIME": runtime,
            "LORAFORGE_SWIFT_PYTHON": f"{name}/trainer",
            "LORAFORGE_MODEL_ROOTS": name,
            # what the machinery can do, not where it is told to stop
            "LORAFORGE_LOG_LINES_PER_JOB": "0",
            "LORAFORGE_LOG_LINES_PER_NODE": "0",
            "DJANGO_SETTINGS_MODULE": "loraforge.settings.base",
        }
        stack = Running(data=Path(name), port=port, environment=environment)
        # By this interpreter: `env python3` may be a slow shim, which would hide what is measured.
        stack.trainer.write_text(f"#!{sys.executable} -IS\n{TRAINER_SOURCE.read_text()}")
        stack.trainer.chmod(0o755)
        if runtime == "docker":
            stack.image = environment["LORAFORGE_SWIFT_IMAGE"] = image_build()
        begin = time.monotonic()
        stack.up()
        stack.up_s = round(time.monotonic() - begin, 1)
        try:
            yield stack
        finally:
            stack.down("--jobs")


def image_build() -> str:
    """The training image with a Python that runs the trainer of this folder instead; returns its name."""
    with tempfile.TemporaryDirectory(prefix="lfb-image-") as name:
        folder = Path(name)
        (folder / "trainer.py").write_bytes(TRAINER_SOURCE.read_bytes())
        shim = '#!/bin/sh\nexec /opt/swift/bin/python -IS /opt/bench/trainer.py "$@"\n'
        (folder / "python").write_text(shim)
        (folder / "python").chmod(0o755)
        (folder / "Dockerfile").write_text(
            f"FROM {SWIFT_IMAGE}\nCOPY --chown=0:0 . /opt/bench/\nENV PATH=/opt/bench:$PATH\n"
        )
        subprocess.run(
            ["docker", "build", "--quiet", "--tag", IMAGE, name], check=True, capture_output=True
        )
    return IMAGE


def percentiles(values: list[float], *, digits: int = 1) -> dict[str, float]:
    """p50, p99 and max."""
    ordered = sorted(values)
    last = len(ordered) - 1
    places = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {name: round(ordered[round(last * share)], digits) for name, share in places.items()}


def until(what: str, probe: Callable[[], Any], *, timeout_s: float = 60.0) -> Any:
    """The first truthy answer, asked often. Raises TimeoutError."""
    deadline = time.monotonic() + timeout_s
    while not (found := probe()):
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.005)
    return found
