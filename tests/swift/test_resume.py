"""Going on from a checkpoint with the real trainer: the same curve as if nothing had happened."""

import hashlib
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraforge.artifacts.checkpoints import is_needed, missing_files
from loraforge.training.launch import Resume, ResumeFile
from nodeagent.supervisor.closing import Manifests
from nodeagent.workspace import JobFolder
from tests.swift.trainer import Training

pytestmark = [pytest.mark.swift, pytest.mark.slow, pytest.mark.timeout(300)]

STEPS = 12
WANTED: dict[str, Any] = {"max_steps": STEPS, "save_steps": 4, "seed": 7}


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for process in _started:
        process.close()
    _started.clear()


_started: list[Training] = []


def start(folder: Path, material: Path, **more: Any) -> Training:
    _started.append(Training(folder, material, **WANTED, **more))
    return _started[-1]


def curve(training: Training) -> dict[int, tuple[float, float]]:
    """Step -> loss and learning rate."""
    return {
        row["step"]: (row["loss"], row["learning_rate"])
        for row in training.events("log")
        if "loss" in row
    }


def handed_over(stopped: Training, to: Path, *, weights_only: bool, job: int = 0) -> Resume:
    """What the platform does with the newest checkpoint that has steps before it: judge, choose, place."""
    made = Manifests().make(JobFolder(stopped.job), complete=True)
    assert not any(file.is_cut for file in made.files)
    steps = [int(name.removeprefix("checkpoint-")) for name in stopped.checkpoints()]
    step = max(one for one in steps if one < STEPS)
    path = f"output/checkpoint-{step}"
    files = {
        file.path.removeprefix(f"{path}/"): file
        for file in made.files
        if file.path.startswith(f"{path}/")
    }
    assert missing_files(files, processes=1) == []
    kept = []
    for name, file in files.items():
        if is_needed(name, weights_only=weights_only):
            target = to / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(stopped.job / file.path, target)
            assert hashlib.sha256(target.read_bytes()).hexdigest() == file.sha256
            kept.append(ResumeFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes))
    return Resume(attempt=1, step=step, path=path, files=kept, weights_only=weights_only, job=job)


def test_a_resumed_training_is_the_same_curve(folder: Path, material: Path) -> None:
    whole = start(folder / "whole", material)
    stopped = start(folder / "stopped", material)
    stopped.wait_for("checkpoint")
    stopped.process.send_signal(signal.SIGTERM)
    stopped.wait()
    assert whole.wait() == 0, whole.console_tail()

    exact = handed_over(stopped, folder / "exact", weights_only=False)
    weights = handed_over(stopped, folder / "weights", weights_only=True)
    # nothing of the attempt before may be needed any more
    shutil.rmtree(stopped.job)
    resumed = start(folder / "resumed", material, resume=exact, left=folder / "exact")
    anew = start(folder / "anew", material, resume=weights, left=folder / "weights")
    assert resumed.wait() == 0, resumed.console_tail()
    assert anew.wait() == 0, anew.console_tail()

    expected = {step: row for step, row in curve(whole).items() if step > exact.step}
    assert sorted(expected) == list(range(exact.step + 1, STEPS + 1))
    assert curve(resumed) == expected
    # weights only: the same steps, another schedule
    assert sorted(curve(anew)) == sorted(expected)
    assert curve(anew) != expected
    assert missing_files({file.path.rpartition("/")[2] for file in weights.files}, processes=1)


@pytest.mark.long
def test_training_on_from_the_weights_is_a_training_of_its_own(
    folder: Path, material: Path
) -> None:
    first = start(folder / "first", material)
    assert first.wait() == 0, first.console_tail()
    weights = handed_over(first, folder / "weights", weights_only=True, job=41)
    onward = start(folder / "onward", material, resume=weights, left=folder / "weights")
    assert onward.wait() == 0, onward.console_tail()
    before, after = curve(first), curve(onward)
    assert sorted(after) == list(range(1, STEPS + 1))
    # the same rows and the same schedule from the first step on, yet other weights
    assert [after[step][1] for step in after] == [before[step][1] for step in before]
    assert after[1][0] != before[1][0]
    assert {path.name for path in (onward.job / "output").glob("checkpoint-*")}
