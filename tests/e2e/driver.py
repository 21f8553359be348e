"""What an end-to-end test does to a live stack, and how it waits."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

import psutil
import psycopg
import pytest
from supervisor.xmlrpc import SupervisorTransport

from loraforge.embedded.client import ApiClient

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SWIFT_PYTHON = Path(
    os.environ.get("LORAFORGE_SWIFT_PYTHON", REPOSITORY / ".venv-swift" / "bin" / "python")
)
PASSWORD = "correct-horse-battery-42"
ENDED = {"succeeded", "failed", "stopped", "lost"}


def wait_for(
    what: str, probe: Callable[[], Any], *, timeout_s: float = 90, every_s: float = 0.1
) -> Any:
    """The first truthy answer of ``probe``; fails saying what was waited for."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = probe()
        if found:
            return found
        time.sleep(every_s)
    pytest.fail(f"waited {timeout_s} s for {what}")


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class LiveStack:
    """The running services, and what a tester does to them."""

    data: Path
    port: int
    environment: dict[str, str]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def manage(self, *words: str, **extra: str) -> str:
        """Run manage.py; fails with its output when it fails."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=REPOSITORY,
            env={**self.environment, **extra},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"manage.py {' '.join(words)}: {done.stdout}\n{done.stderr}"
        return done.stdout

    def users_add(self, **roles: str) -> None:
        """People by name and role. In one process: starting one takes longer than adding all."""
        lines = ["from django.core.management import call_command"]
        lines += [
            f"call_command('user_add', {name!r}, role={role!r})" for name, role in roles.items()
        ]
        self.manage("shell", "--command", "\n".join(lines), LORAFORGE_PASSWORD=PASSWORD)

    def user_add(self, name: str, role: str = "researcher") -> None:
        self.manage("user_add", name, "--role", role, LORAFORGE_PASSWORD=PASSWORD)

    def api(self, name: str) -> ApiClient:
        return ApiClient(base_url=self.url, username=name, password=PASSWORD)

    def pid_of(self, service: str) -> int:
        """The pid of one supervised service; 0 while it has none."""
        # asked as supervisorctl asks, without a process of its own for each of many questions
        transport = SupervisorTransport("", "", f"unix://{self.data}/supervisor.sock")
        try:
            supervisor: Any = ServerProxy("http://127.0.0.1", transport=transport)
            return int(supervisor.supervisor.getProcessInfo(service)["pid"])
        finally:
            transport.close()

    def kill(self, service: str, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid_of(service), number)

    def up(self) -> None:
        self.manage("up", "--background")

    def down(self, *words: str) -> str:
        return self.manage("down", *words)

    def job_folder(self, job_id: int, attempt: int = 1) -> Path:
        return self.data / "node" / "jobs" / str(job_id) / f"a{attempt}"

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Rows straight from the database, read-only."""
        server = self.environment.get("DATABASE_URL")
        if server:
            with psycopg.connect(server, autocommit=True) as connection:
                return connection.execute(query.replace("?", "%s").encode(), values).fetchall()
        database = sqlite3.connect(
            f"file:{self.data}/loraforge.sqlite3?mode=ro", uri=True, timeout=20
        )
        try:
            return database.execute(query, values).fetchall()
        finally:
            database.close()

    def redis_url(self) -> str:
        return self.environment.get("REDIS_URL") or f"unix://{self.data}/redis/redis.sock?db=0"


@contextmanager
def stack_running(data: Path, demo: Path, **settings: str) -> Iterator[LiveStack]:
    """A stack of one's own while the block lasts; its trainings end with it. settings: environment on top."""
    left_out = ("DJANGO_", "LORAFORGE_", "DATABASE_URL", "REDIS_URL")
    environment = {key: value for key, value in os.environ.items() if not key.startswith(left_out)}
    environment |= {
        "LORAFORGE_DATA": str(data),
        "LORAFORGE_PORT": str(free_port()),
        "LORAFORGE_RUNTIME": "process",
        "LORAFORGE_SWIFT_PYTHON": str(SWIFT_PYTHON),
        "LORAFORGE_MODEL_ROOTS": str(demo),
        "DJANGO_SETTINGS_MODULE": "loraforge.settings.base",
        **settings,
    }
    live = LiveStack(data=data, port=int(environment["LORAFORGE_PORT"]), environment=environment)
    try:
        live.up()
        yield live
    finally:
        live.down("--jobs")


def sft_body(demo: Path, dataset: int, **changes: Any) -> dict[str, Any]:
    """A LoRA fine-tune of the tiny model; ``arguments`` are merged, anything else replaced."""
    arguments = {
        "tuner_type": "lora",
        "torch_dtype": "float32",
        "max_steps": 12,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "logging_steps": 1,
        "save_steps": 6,
        "max_length": 128,
        "lora_rank": 4,
        "dataloader_num_workers": 0,
        **changes.pop("arguments", {}),
    }
    return {
        "name": "",
        "command": "sft",
        "model": str(demo / "model"),
        "datasets": [dataset],
        "gpus": 1,
        "start": True,
        "arguments": arguments,
        **changes,
    }


def code_upload(api: ApiClient, path: Path) -> dict[str, Any]:
    """The same of a file with reward functions, which the list of datasets leaves out."""
    return dataset_upload(api, path, kind="code")


def dataset_upload(api: ApiClient, path: Path, **listed: str) -> dict[str, Any]:
    """Upload and wait for the verdict. listed: of the list that it comes into."""
    known = {row["id"] for row in api.pages("datasets/", **listed)}
    api.upload(path)

    def verdict() -> dict[str, Any] | None:
        for row in api.pages("datasets/", **listed):
            if row["id"] not in known and row["state"] in {"ready", "invalid"}:
                return dict(row)
        return None

    found: dict[str, Any] = wait_for("the dataset's verdict", verdict, timeout_s=30)
    return found


def job_wait(
    api: ApiClient, job_id: int, states: set[str] = ENDED, *, timeout_s: float = 120
) -> dict[str, Any]:
    """The job once it is in one of these states."""

    def look() -> dict[str, Any] | None:
        job: dict[str, Any] = api.get(f"jobs/{job_id}/")
        return job if job["state"] in states else None

    found: dict[str, Any] = wait_for(f"job #{job_id} to be {states}", look, timeout_s=timeout_s)
    return found


def log_all(api: ApiClient, job_id: int) -> list[str]:
    """Every line, page by page."""
    lines: list[str] = []
    after = ""
    while True:
        page = api.get(f"jobs/{job_id}/log/", **({"after": after} if after else {}), limit=500)
        lines += [row["text"] if isinstance(row, dict) else row for row in page["lines"]]
        if not page["lines"]:
            return lines
        after = page["next"]


def trainer_pids(folder: Path) -> list[int]:
    """The pids of processes that train into this job's folder."""
    found = []
    for process in psutil.process_iter(["pid", "cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words) and "-m" in words:
            found.append(int(process.info["pid"]))
    return sorted(found)


def metric_file(folder: Path) -> list[dict[str, Any]]:
    """SWIFT's own logging.jsonl, without the history that its last line repeats."""
    rows = [
        json.loads(line) for line in (folder / "output" / "logging.jsonl").read_text().splitlines()
    ]
    return [{key: value for key, value in row.items() if key != "log_history"} for row in rows]
