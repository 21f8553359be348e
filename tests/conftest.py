"""Fixtures that every room of the tests may use. Free of Django on purpose: the agent's tests import it."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from hypothesis import HealthCheck, settings

from tools.postgres import Postgres

ROOT = Path(__file__).resolve().parent.parent

# No test depends on how busy the machine is: real trainings run beside these.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")


@pytest.fixture(scope="session")
def redis_server_binary() -> Path:
    """A redis-server that runs here, from PATH or fetched as the embedded stack fetches it."""
    folder = Path(os.environ.get("LORAFORGE_DATA") or ROOT / "var") / "redis-binary"
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "redis_fetch.py"), str(folder)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, f"no redis-server: {done.stderr}"
    return Path(done.stdout.strip().splitlines()[-1])


@pytest.fixture(scope="session")
def redis_server(redis_server_binary: Path) -> Iterator[str]:
    """URL of a private Redis on a unix socket, one for each test process."""
    # a unix socket's path may have some 100 bytes, and pytest's own folders have more
    with tempfile.TemporaryDirectory(prefix="lf-redis-") as folder:
        path = Path(folder) / "redis.sock"
        server = subprocess.Popen(
            [
                str(redis_server_binary),
                *("--port", "0", "--unixsocket", str(path), "--unixsocketperm", "700"),
                *("--dir", folder, "--save", "", "--maxmemory-policy", "noeviction"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        try:
            url = f"unix://{path}?db=0"
            _await_redis(url, server)
            yield url
        finally:
            server.terminate()
            server.wait(10)


def _await_redis(url: str, server: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + 20
    client = redis.Redis.from_url(url)
    while True:
        try:
            client.ping()
        except redis.ConnectionError:
            assert server.poll() is None, "redis-server ended at once"
            assert time.monotonic() < deadline, "redis-server does not answer"
            time.sleep(0.01)
        else:
            client.close()
            return


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """The same Redis, empty."""
    client = redis.Redis.from_url(redis_server)
    client.flushall()
    client.close()
    return redis_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A private PostgreSQL with an empty database, one for each test process."""
    # not below pytest's own folders: those are root's alone, and PostgreSQL does not run as root
    with (
        tempfile.TemporaryDirectory(prefix="lf-postgres-") as folder,
        Postgres(Path(folder)) as server,
    ):
        yield server
