"""The steps of getting ready: what is told of them, how long they may take, and that they can be cut short."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nodeagent.config import ConfigError, settings_read
from nodeagent.contract.phases import Phase
from nodeagent.contract.reports import Step
from nodeagent.journal import Record
from nodeagent.supervisor.admission import Refusal
from nodeagent.supervisor.preparing import Preparation
from nodeagent.supervisor.steps import Steps
from nodeagent.workspace import JobFolder
from tests.agent.plane import start_command, wait_for


def record_of(**more: Any) -> Record:
    return Record(instance=2, attempt=1, phase=Phase.PREPARING, **more)


def test_a_step_has_a_beginning_an_end_and_bytes() -> None:
    record = record_of()
    steps = Steps(record, limits={})
    with steps.step("model"):
        assert record.steps["model"].ended == 0.0
        steps.progress(done_bytes=21, total_bytes=56, detail="Qwen")
        assert steps.news()
        assert not steps.news()
    model = record.steps["model"]
    assert model.began <= model.ended <= time.time()
    assert (model.done_bytes, model.total_bytes, model.detail) == (56, 56, "Qwen")


def test_a_step_that_broke_goes_on_from_its_first_beginning() -> None:
    record = record_of(steps={"image": Step(name="image", began=time.time() - 50)})
    began = record.steps["image"].began
    steps = Steps(record, limits={"image": 40.0})
    with pytest.raises(ZeroDivisionError), steps.step("image"):
        raise ZeroDivisionError
    assert record.steps["image"] == Step(name="image", began=began)
    with pytest.raises(Refusal) as caught:
        steps.overdue_check()
    assert caught.value.reason == "node:prepare_timeout"
    assert "image" in caught.value.detail
    assert "40 s" in caught.value.detail


class Stuck:
    """A runtime whose registry never answers, and a reporter's outbox."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.said: list[dict[str, Step]] = []

    def prepare(self, _image: str, *, say: Any, cancelled: Any) -> None:
        say(done_bytes=1, total_bytes=4)
        self.released.wait(60)

    def steps(self, record: Record) -> None:
        self.said.append(record.steps)


def preparation(tmp_path: Path, stuck: Stuck, **limits: float) -> tuple[Preparation, Any]:
    parts: Any = type("Some", (), {})
    parts.runtime = parts.outbox = stuck
    parts.limits = limits
    parts.pool = ThreadPoolExecutor(1)
    cancel = threading.Event()
    record = record_of(spec=start_command(2, ["-c", "pass"]))
    return Preparation(record, JobFolder(tmp_path / "job"), parts, cancel=cancel), cancel


def test_what_hangs_is_given_up_when_its_time_is_over(tmp_path: Path) -> None:
    stuck = Stuck()
    ready, cancel = preparation(tmp_path, stuck, image=0.05)

    def overdue() -> Refusal | None:
        try:
            assert not ready.prepared()
        except Refusal as refusal:
            return refusal
        return None

    refusal = wait_for(overdue)
    assert refusal.reason == "node:prepare_timeout"
    assert cancel.is_set()
    stuck.released.set()


def test_what_hangs_is_given_up_at_once_when_the_job_is_cancelled(tmp_path: Path) -> None:
    stuck = Stuck()
    ready, cancel = preparation(tmp_path, stuck)
    assert not ready.prepared()
    wait_for(lambda: ready._record.steps.get("image"))
    cancel.set()
    with pytest.raises(Refusal) as caught:
        ready.prepared()
    assert caught.value.reason == "command:stopped_before_start"
    stuck.released.set()


def test_progress_is_told_while_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nodeagent.supervisor.preparing.SAY_EVERY_S", 0.01)
    stuck = Stuck()
    ready, _cancel = preparation(tmp_path, stuck)
    wait_for(lambda: not ready.prepared() and stuck.said and stuck.said[-1]["image"].done_bytes)
    assert stuck.said[-1]["image"].total_bytes == 4
    stuck.released.set()
    wait_for(ready.prepared)


def test_limits_of_steps_are_settings() -> None:
    base = {"LORAFORGE_NODE_TOKEN": "t", "LORAFORGE_SERVER": "http://x", "LORAFORGE_NODE_NAME": "n"}
    given = {**base, "LORAFORGE_PREPARE_MODEL_S": "60", "LORAFORGE_PREPARE_IMPORTS_S": "0"}
    limits = settings_read([], given).limits
    assert (limits["model"], limits["imports"], limits["image"]) == (60.0, 0.0, 7_200.0)
    with pytest.raises(ConfigError, match="LORAFORGE_PREPARE_DATA_S"):
        settings_read([], {**base, "LORAFORGE_PREPARE_DATA_S": "soon"})
