"""The real Flower on a real Redis: it shows who sends events, and changes nothing."""

import os
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from celery import Celery

from loraforge.core.celery import broker_url
from loraforge.monitoring.views import INLINE_SCRIPT
from tests.control.webserver import wait_until

pytestmark = pytest.mark.redis
ROOT = Path(__file__).resolve().parents[3]


class Flower(httpx.Client):
    """The process, asked over its socket."""

    def __init__(self, *, socket: Path, redis_url: str) -> None:
        self.socket = socket
        self.celery = Celery(broker=broker_url(redis_url), set_as_current=False)
        transport = httpx.HTTPTransport(uds=str(socket))
        super().__init__(base_url="http://flower/flower", transport=transport, timeout=20)

    def workers(self) -> dict[str, Any]:
        rows = self.get("/workers", params={"json": 1}).json()["data"]
        return {row["hostname"]: row for row in rows}

    def heartbeat(self, hostname: str) -> None:
        with (
            self.celery.connection() as connection,
            self.celery.events.Dispatcher(connection, hostname=hostname) as dispatcher,
        ):
            facts = {"freq": 10, "sw_ident": "py-celery", "sw_ver": "5", "sw_sys": "Linux"}
            dispatcher.send("worker-heartbeat", loadavg=[1, 2, 3], **facts)

    def shows(self, hostname: str) -> dict[str, Any] | None:
        """Events are not kept: what is sent before Flower listens is lost, so it is sent again."""
        self.heartbeat(hostname)
        return self.workers().get(hostname)


@pytest.fixture
def flower(redis_url: str) -> Iterator[Flower]:
    with tempfile.TemporaryDirectory(prefix="lf-flower-") as folder:
        socket = Path(folder) / "f.sock"
        arguments = [f"--unix-socket={socket}", "--url-prefix=flower", "--logging=warning"]
        process = subprocess.Popen(
            [sys.executable, "-m", "loraforge.monitoring", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "REDIS_URL": redis_url,
                "DJANGO_SETTINGS_MODULE": "loraforge.settings.base",
                "LORAFORGE_DATA": folder,
            },
        )
        try:
            wait_until(socket.exists, timeout_s=60)
            with Flower(socket=socket, redis_url=redis_url) as client:
                yield client
        finally:
            process.terminate()
            assert process.wait(20) == 0


def test_the_compose_file_s_question_is_answered(flower: Flower) -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    _cmd, _python, *words = services["flower"]["healthcheck"]["test"]
    asked = [word.replace("/data/flower/flower.sock", str(flower.socket)) for word in words]
    done = subprocess.run([sys.executable, *asked], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    flower.socket.rename(flower.socket.with_suffix(".away"))
    done = subprocess.run([sys.executable, *asked], capture_output=True, check=False)
    assert done.returncode != 0


def test_it_shows_control_workers_and_node_agents_and_changes_nothing(flower: Flower) -> None:
    assert stat.S_IMODE(flower.socket.stat().st_mode) == 0o600
    for hostname in ("control@host", "agent@n1"):
        row = wait_until(lambda name=hostname: flower.shows(name))
        assert row["status"] is True
        assert row["loadavg"] == [1, 2, 3]
    agent = flower.get("/worker/agent@n1")
    assert agent.status_code == 200
    assert "node.n1." in agent.text
    assert "node.n1." in flower.get("/broker").text
    assert flower.get("/worker/agent@n2").status_code == 404
    assert INLINE_SCRIPT in flower.get("/").text
    for path in ("api/task/send-task/nodeagent.command", "api/worker/shutdown/control@host"):
        assert flower.post(f"/{path}", json={"kwargs": {}}).status_code in {401, 403}
