"""A stack to look at: a data folder of its own, filled with jobs of every state, and only web and Redis running."""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent.parent
STARTED_WITHIN_S = 120


def _redis_server() -> str:
    command = [sys.executable, str(REPOSITORY / "tools/redis_fetch.py"), str(REPOSITORY / ".redis")]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=5):
            return True
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _ended(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(15)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def showroom() -> Iterator[tuple[str, str]]:
    """Filled and served; gives its address and everybody's password."""
    password = secrets.token_urlsafe(12)
    # A short folder: the unix socket of Redis lies in it.
    with tempfile.TemporaryDirectory(prefix="lf-show-") as data:
        environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "loraforge.settings.base",
            "LORAFORGE_DATA": data,
            "LORAFORGE_PASSWORD": password,
            # Nobody sends heartbeats here, and its nodes stay as they are drawn.
            "LORAFORGE_NODE_SUSPECT_S": "86400",
            "LORAFORGE_NODE_OFFLINE_S": "90000",
        }
        for words in (
            ["manage.py", "migrate", "--verbosity", "0"],
            ["manage.py", "collectstatic", "--no-input", "--verbosity", "0"],
            ["-m", "tools.showroom"],
        ):
            subprocess.run([sys.executable, *words], cwd=REPOSITORY, env=environment, check=True)
        (Path(data) / "redis").mkdir(mode=0o700, exist_ok=True)
        socket_path = f"{data}/redis/redis.sock"
        redis = subprocess.Popen(
            [_redis_server(), "--port", "0", "--unixsocket", socket_path, "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        port = _free_port()
        web = subprocess.Popen(
            [
                *(sys.executable, "-m", "uvicorn", "loraforge.asgi:application"),
                *("--port", str(port), "--no-access-log", "--log-level", "warning"),
                *("--timeout-graceful-shutdown", "2"),
            ],
            cwd=REPOSITORY,
            env=environment,
        )
        try:
            deadline = time.monotonic() + STARTED_WITHIN_S
            url = f"http://127.0.0.1:{port}"
            while not _answers(url):
                if web.poll() is not None or time.monotonic() > deadline:
                    sys.exit("The web process does not answer; its output stands above.")
                time.sleep(0.2)
            yield url, password
        finally:
            _ended(web)
            _ended(redis)
