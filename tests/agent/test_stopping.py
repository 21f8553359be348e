"""Ending an attempt: grace, more of it while a checkpoint grows, and a bound to both. No process is started."""

import json
import time
from pathlib import Path
from typing import Any, cast

import pytest

from nodeagent.contract.commands import Start, Stop
from nodeagent.contract.phases import Phase
from nodeagent.journal import Handle, Record
from nodeagent.runtimes.base import Runtime, Signal
from nodeagent.supervisor.fencing import (
    Contact,
    clock_s,
    fence_stop,
    fenced_after_s,
    is_fenced,
    lease_environment,
)
from nodeagent.supervisor.lease import Lease
from nodeagent.supervisor.stopping import SAVE_STUCK_S, Stopping
from nodeagent.swift_plugin.lf_fence import Fence, fence_make, lease_read
from nodeagent.workspace import JobFolder, Workspace

HANDLE = Handle(name="lf-1-a1")


class Told:
    """A runtime that notes what it is told."""

    def __init__(self) -> None:
        self.signals: list[Signal] = []

    def signal(self, _handle: Handle, _folder: JobFolder, signal: Signal) -> None:
        self.signals.append(signal)


@pytest.fixture
def folder(tmp_path: Path) -> JobFolder:
    found = Workspace(tmp_path).job(1, 1)
    found.create()
    return found


def start(**facts: Any) -> Start:
    return Start(id="s", instance=1, attempt=1, argv=[], devices=["cpu-0"], spec_hash="x", **facts)


def record(stop: Stop | None = None, **facts: Any) -> Record:
    return Record(
        instance=1, attempt=1, phase=Phase.RUNNING, spec=start(**facts), stop=stop,
        stop_at=time.monotonic(),
    )  # fmt: skip


def stop(mode: Any = "save", **facts: Any) -> Stop:
    return Stop(id="stop", instance=1, attempt=1, mode=mode, **facts)


def say(folder: JobFolder, *names: str) -> None:
    with (folder.path / "events.jsonl").open("a") as file:
        for name in names:
            file.write(json.dumps({"event": name}) + "\n")


def write(folder: JobFolder, size: int) -> None:
    checkpoint = folder.path / "output" / "checkpoint-5"
    checkpoint.mkdir(parents=True, exist_ok=True)
    (checkpoint / "model.safetensors").write_bytes(b"x" * size)


def stopping(record: Record, folder: JobFolder) -> tuple[Stopping, Told]:
    told = Told()
    return Stopping(record, folder, cast("Runtime", told)), told


def test_a_trainer_that_does_not_save_is_killed_when_its_grace_is_over(folder: JobFolder) -> None:
    ending, told = stopping(record(stop(grace_s=30, save_max_s=600)), folder)
    say(folder, "train_begin", "saving", "checkpoint")
    now = time.monotonic()
    for moment, signals in (
        (0, [Signal.TERM]),
        (29, [Signal.TERM]),
        (31, [Signal.TERM, Signal.KILL]),
    ):
        ending.apply(HANDLE, now + moment)
        assert told.signals == signals


def test_while_a_checkpoint_grows_it_is_waited_for_within_a_bound(folder: JobFolder) -> None:
    ending, told = stopping(record(stop(grace_s=30, save_max_s=200)), folder)
    say(folder, "train_begin", "saving")
    now = time.monotonic()
    ending.apply(HANDLE, now)
    for size, moment in enumerate((31, 95, 160), start=1):
        write(folder, size)
        ending.apply(HANDLE, now + moment)
        assert told.signals == [Signal.TERM], f"after {moment} s"
    write(folder, 9)
    ending.apply(HANDLE, now + 201)
    assert told.signals == [Signal.TERM, Signal.KILL], "never longer than the setting"


def test_a_save_that_is_stuck_is_not_waited_for(folder: JobFolder) -> None:
    ending, told = stopping(record(stop(grace_s=30, save_max_s=6000)), folder)
    say(folder, "saving")
    write(folder, 5)
    now = time.monotonic()
    ending.apply(HANDLE, now)
    ending.apply(HANDLE, now + 31)
    assert told.signals == [Signal.TERM]
    ending.apply(HANDLE, now + 32 + SAVE_STUCK_S)
    assert told.signals == [Signal.TERM, Signal.KILL]


def test_cancel_now_waits_for_no_save(folder: JobFolder) -> None:
    ending, told = stopping(record(stop("now", save_max_s=600)), folder)
    say(folder, "saving")
    now = time.monotonic()
    ending.apply(HANDLE, now)
    ending.apply(HANDLE, now + 3)
    assert told.signals == [Signal.TERM_ALL, Signal.KILL]


def test_several_processes_are_told_by_file_once_they_train(folder: JobFolder) -> None:
    ending, told = stopping(record(stop(), processes=2), folder)
    ending.apply(HANDLE, time.monotonic())
    assert told.signals == [Signal.TERM], "before the first step nobody looks at the file"
    say(folder, "plugin_loaded", "train_begin")
    ending, told = stopping(record(stop(), processes=2), folder)
    ending.apply(HANDLE, time.monotonic())
    assert told.signals == []
    assert (folder.control / "stop").exists()


# -- the fence


def test_only_a_start_that_says_so_is_ever_fenced(folder: JobFolder) -> None:
    assert fence_stop(record(), silent_s=1e9) is None
    assert fenced_after_s(record()) == 0
    fenced = record(fence_after_s=60, fence_grace_s=30)
    assert fenced_after_s(fenced) == 90
    assert fence_stop(fenced, silent_s=59) is None
    asked = fence_stop(fenced, silent_s=60)
    assert asked is not None
    assert (asked.mode, asked.grace_s, asked.save_max_s) == ("save", 30, 0)
    fenced.stop = asked
    assert is_fenced(fenced, folder)
    assert fence_stop(fenced, silent_s=70) is None, "asked once"
    hard = fence_stop(fenced, silent_s=90)
    assert hard is not None
    assert hard.mode == "now"


def test_a_person_s_stop_that_would_last_too_long_is_cut_short_by_the_fence() -> None:
    long = record(stop(grace_s=30, save_max_s=1800), fence_after_s=60, fence_grace_s=30)
    asked = fence_stop(long, silent_s=65)
    assert asked is not None
    assert asked.grace_s == 25
    short = record(stop(grace_s=5, save_max_s=5), fence_after_s=60, fence_grace_s=30)
    assert fence_stop(short, silent_s=65) is None
    ended = record(fence_after_s=60)
    ended.phase = Phase.ENDED
    assert fence_stop(ended, silent_s=1e9) is None


def test_contact_counts_from_when_the_heard_heartbeat_was_sent(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("nodeagent.supervisor.fencing.clock_s", lambda: clock[0])
    contact = Contact(boot_id="b", lease=Lease(tmp_path / "lease"))
    clock[0] = 1010.0
    mark = contact.mark()
    clock[0] = 1025.0
    assert contact.silent_s() == 25
    contact.heard(mark)
    assert contact.silent_s() == 15
    for strange in ("", "b:", "b:x", "other:1020000", "b:9999999999", "b:1005000", "b:²"):
        contact.heard(strange)
        assert contact.silent_s() == 15, strange


def test_the_clock_runs_since_the_machine_s_start() -> None:
    assert clock_s() >= time.monotonic() - 1


def test_an_agent_that_starts_anew_counts_on_and_joining_is_an_answer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("nodeagent.supervisor.fencing.clock_s", lambda: clock[0])
    lease = Lease(tmp_path / "lease")
    Contact(boot_id="b", lease=lease)
    clock[0] = 1100.0
    contact = Contact(boot_id="b", lease=lease)
    assert contact.silent_s() == 100
    assert Contact(boot_id="another", lease=Lease(tmp_path / "of another")).silent_s() == 0
    contact.asking()
    clock[0] = 1102.0
    contact.joined()
    assert contact.silent_s() == 2, "since it was asked, not since it was answered"
    assert lease.read("b") == 1_100_000
    assert lease.read("another") is None
    assert Contact(boot_id="another", lease=lease).silent_s() == 0, "nothing of before runs"


def test_a_training_keeps_the_fence_by_itself(tmp_path: Path) -> None:
    clock, told = [1000.0], []
    lease = Lease(tmp_path)
    fence = Fence(
        tmp_path / "heard",
        after_s=60,
        grace_s=30,
        stop=lambda: told.append("stop"),
        end=lambda: told.append("end"),
        clock=lambda: clock[0],
    )

    def at(now: float) -> list[str]:
        clock[0] = now
        fence.look()
        return told

    lease.write("b", 1_000_000)
    assert at(1059) == []
    lease.write("b", 1_050_000)
    assert at(1109) == []
    (tmp_path / "heard").write_text("b:1100000\nb:11")  # half a write is no word
    assert lease_read(tmp_path / "heard") is None
    assert (at(1110), fence.is_over) == (["stop"], True)
    assert at(1139) == ["stop"], "once"
    lease.write("b", 2_000_000)  # a moment to come is none
    assert at(1140) == ["stop", "end"]
    lease.write("b", 1_139_000)
    assert not fence.is_over


def test_only_a_start_with_a_fence_gives_its_training_the_lease() -> None:
    assert lease_environment(start()) == {}
    assert fence_make({}, stop=lambda: None, end=lambda: None) is None
    asked = lease_environment(start(fence_after_s=60, fence_grace_s=30))
    assert asked["CB_LEASE"] == "/lf/lease/heard"
    assert fence_make(asked, stop=lambda: None, end=lambda: None) is not None


def test_a_training_that_the_fence_ended_alone_is_known_by_its_last_word(
    folder: JobFolder,
) -> None:
    def said(*events: dict[str, Any]) -> bool:
        lines = "".join(f"{json.dumps(event)}\n" for event in events)
        (folder.path / "events.jsonl").write_text(lines)
        return is_fenced(fenced, folder)

    fenced = record(fence_after_s=60, fence_grace_s=30)
    assert said({"event": "log"}, {"event": "stopped", "reason": "fence"})
    assert not said({"event": "stopped", "reason": "signal"})
    assert not said({"event": "stopped", "reason": 7})
    assert not is_fenced(record(), folder), "one that may not be replaced is never fenced"
    fenced.stop = stop(grace_s=30)
    assert not said({"event": "stopped", "reason": "fence"}), "a person stopped it"
