"""The process that runs relay, ingest and beat: it ends cleanly, and it ends when a part of it does."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from django.core.management import CommandError

from loraforge.core import pulse
from loraforge.gateway.management.commands import core_services
from tests.control.webserver import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.redis
@pytest.mark.slow
def test_sigterm_ends_it_with_zero(tmp_path: Path, redis_url: str) -> None:
    environment = {
        **os.environ,
        "LORAFORGE_DATA": str(tmp_path),
        "REDIS_URL": redis_url,
        "DJANGO_SETTINGS_MODULE": "loraforge.settings.base",
        "DATABASE_URL": f"sqlite:///{tmp_path}/x.sqlite3",
    }
    manage = [sys.executable, "manage.py"]
    alive = tmp_path / "alive"
    subprocess.run(
        [*manage, "migrate", "-v0"],
        cwd=ROOT,
        env=environment,
        check=True,
        timeout=100,
        capture_output=True,
    )
    process = subprocess.Popen(
        [*manage, "core_services", "--alive", str(alive)],
        cwd=ROOT,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        while "core services: beat, ingest, relay" not in process.stderr.readline():
            assert process.poll() is None
        wait_until(alive.exists, timeout_s=60)
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def test_a_crashed_part_ends_the_process_with_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signal, "signal", lambda *_given: None)
    ended: list[str] = []

    def crash(_stopping: threading.Event) -> "Callable[[], None]":
        def work() -> None:
            message = "it broke"
            raise RuntimeError(message)

        return work

    def wait(stopping: threading.Event) -> "Callable[[], None]":
        def work() -> None:
            stopping.wait(20)
            ended.append("other")

        return work

    monkeypatch.setattr(core_services, "WORK", {"ingest": crash, "relay": wait})
    began = time.monotonic()
    with pytest.raises(CommandError, match="ingest ended by itself"):
        core_services.Command().handle(only=None, alive=None)
    assert ended == ["other"], "the others are told to end"
    assert time.monotonic() - began < 10


def test_a_loop_that_stands_still_is_not_told_to_be_alive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """One of two has hung: the file is left to grow old."""
    monkeypatch.setattr(pulse, "_turned", {})
    path, stopping = tmp_path / "alive", threading.Event()
    stopping.set()
    pulse.turn("relay")
    pulse.tell(path, names=["relay", "beat"], stopping=stopping)
    assert not path.exists(), "beat has not begun yet"
    pulse.turn("beat")
    pulse.tell(path, names=["relay", "beat"], stopping=stopping)
    assert path.exists()
    path.unlink()
    monkeypatch.setitem(pulse._turned, "beat", time.monotonic() - pulse.PATIENCE_S - 1)
    pulse.tell(path, names=["relay", "beat"], stopping=stopping)
    assert not path.exists()
