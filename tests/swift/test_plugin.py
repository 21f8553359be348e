"""The plugin inside the real trainer: events, checkpoints on request, orderly stops, two processes."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from loraforge.swift.compiler import STOPPED_EXIT_CODE
from nodeagent.supervisor.fencing import clock_s
from nodeagent.supervisor.lease import Lease
from tests.swift.trainer import Training

pytestmark = [pytest.mark.swift, pytest.mark.slow]

LONG: dict[str, Any] = {"max_steps": 100_000, "save_steps": 50_000, "save_total_limit": 3}
Start = Callable[..., Training]


@pytest.fixture
def start(tmp_path: Path, material: Path) -> Iterator[Start]:
    """Start the trainer; what still runs at the end of the test is killed."""
    started: list[Training] = []

    def start_one(**arguments: Any) -> Training:
        started.append(Training(tmp_path / str(len(started)), material, **arguments))
        return started[-1]

    yield start_one
    for training in started:
        training.close()


def test_a_training_to_its_end(start: Start) -> None:
    training = start(max_steps=6, save_steps=3)
    assert training.wait() == 0, training.console_tail()
    events = training.events()
    assert [row["event"] for row in events][:3] == ["plugin_loaded", "train_begin", "log"]
    assert events[-1]["event"] == "train_end"
    for row in events:
        assert {"event", "time", "step", "max_steps", "epoch"} <= set(row)
    assert [row["step"] for row in training.events("log")] == [1, 2, 3, 4, 5, 6, 6]
    assert training.events("train_begin")[0]["pid"] == training.process.pid
    saved = training.events("checkpoint")
    assert [(row["step"], row["reason"]) for row in saved] == [(3, "schedule"), (6, "schedule")]
    assert training.checkpoints() == ["checkpoint-3", "checkpoint-6"]
    assert (training.job / "output" / "checkpoint-6" / "adapter_model.safetensors").exists()
    assert not (training.job / "output" / "images").exists()


def test_save_on_signal_and_control_file_then_stop_on_sigterm(start: Start) -> None:
    training = start(**LONG)
    pid = training.wait_for("train_begin")["pid"]
    os.kill(pid, signal.SIGUSR1)
    first = training.wait_for("checkpoint")
    (training.job / "control" / "save").touch()
    second = training.wait_for("checkpoint", number=2)
    assert (first["reason"], second["reason"]) == ("signal", "control")
    assert second["step"] > first["step"]
    assert not (training.job / "control" / "save").exists()
    os.kill(pid, signal.SIGTERM)
    assert training.wait() == STOPPED_EXIT_CODE
    last = training.events()[-1]
    assert (last["event"], last["reason"]) == ("stopped", "signal")
    assert last["checkpoint"].endswith(f"checkpoint-{last['step']}")
    assert f"checkpoint-{last['step']}" in training.checkpoints()
    assert training.events("train_end") == []


def test_save_by_the_clock_and_stop_by_control_file(start: Start) -> None:
    training = start(**LONG, save_every_s=0.5)
    assert training.wait_for("checkpoint")["reason"] == "timer"
    second = training.wait_for("checkpoint", number=2)
    assert second["time"] - training.events("checkpoint")[0]["time"] >= 0.5
    (training.job / "control" / "stop").touch()
    assert training.wait() == STOPPED_EXIT_CODE
    assert training.events()[-1]["reason"] == "control"


def test_a_stop_before_the_first_step_ends_at_once(start: Start) -> None:
    training = start(**LONG)
    pid = training.wait_for("plugin_loaded")["pid"]
    os.kill(pid, signal.SIGTERM)
    assert training.wait() == STOPPED_EXIT_CODE
    last = training.events()[-1]
    assert (last["event"], last["step"], last["checkpoint"]) == ("stopped", 0, None)


def test_a_stop_ends_with_its_code_while_data_workers_run(start: Start) -> None:
    """The workers inherit the handlers; they must neither speak nor keep the trainer from ending."""
    training = start(**{**LONG, "dataloader_num_workers": 2})
    training.wait_for("log", number=3)
    os.kill(training.process.pid, signal.SIGTERM)
    assert training.wait() == STOPPED_EXIT_CODE
    assert len(training.events("stopped")) == 1


def test_two_processes_save_and_stop_together(start: Start) -> None:
    training = start(**LONG, processes=2)
    pid = training.wait_for("train_begin")["pid"]
    assert len(training.events("train_begin")) == 1
    loss = training.wait_for("log")["loss"]
    assert 5.5 < loss < 6.5, "without gradient sync the loss is shown twice as high"
    os.kill(pid, signal.SIGUSR1)
    training.wait_for("checkpoint")
    os.kill(training.process.pid, signal.SIGTERM)
    training.wait()
    last = training.events()[-1]
    assert last["event"] == "stopped"
    folder = training.job / "output" / f"checkpoint-{last['step']}"
    assert sorted(path.name for path in folder.glob("rng_state_*.pth")) == [
        "rng_state_0.pth",
        "rng_state_1.pth",
    ]
    assert len(training.events("stopped")) == len(training.events("plugin_loaded")) == 1


@pytest.mark.long
@pytest.mark.parametrize("processes", [1, 2])
def test_the_fence_saves_and_stops_without_an_agent(
    start: Start, tmp_path: Path, processes: int
) -> None:
    """The lease is not renewed any more; no signal, no control file."""
    lease = Lease(tmp_path / "lease")
    lease.write("b", int(clock_s() * 1000))
    environment = {
        "CB_LEASE": str(tmp_path / "lease" / "heard"),
        "CB_FENCE_AFTER_S": "1000",
        "CB_FENCE_GRACE_S": "1000",
    }
    training = start(**LONG, processes=processes, environment=environment)
    training.wait_for("log", number=3)
    lease.write("b", int((clock_s() - 1001) * 1000))
    code = training.wait()
    assert processes > 1 or code == STOPPED_EXIT_CODE
    last = training.events()[-1]
    assert (last["event"], last["reason"]) == ("stopped", "fence")
    assert f"checkpoint-{last['step']}" in training.checkpoints()


@pytest.mark.long
def test_the_fence_ends_what_does_not_stop(start: Start, tmp_path: Path) -> None:
    """All of it has passed when the trainer looks for the first time, as behind an import that hung."""
    lease = Lease(tmp_path / "lease")
    lease.write("b", 0)
    environment = {
        "CB_LEASE": str(tmp_path / "lease" / "heard"),
        "CB_FENCE_AFTER_S": "0.1",
        "CB_FENCE_GRACE_S": "0.1",
    }
    training = start(**LONG, environment=environment)
    assert training.wait() == 75
    assert [row["event"] for row in training.events()] == ["plugin_loaded", "stopped"]
