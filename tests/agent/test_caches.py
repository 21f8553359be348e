"""What a node keeps of inputs, models and datasets, and for how long."""

import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nodeagent.commands import Commands
from nodeagent.contract.commands import Discard, Input, command_dump
from nodeagent.contract.phases import Phase
from nodeagent.journal import Record
from nodeagent.supervisor import caches as caches_module
from nodeagent.supervisor.caches import Caches, whole_mark
from tests.agent.plane import start_command

DAY_S = 24 * 3600


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Caches:
    (tmp_path / "inputs").mkdir()
    monkeypatch.setattr(caches_module, "FREE_PART", 0.0)  # this machine's disk is as it is
    return Caches(folder=tmp_path)


def model(caches: Caches, name: str, *, age_s: float, size: int = 1000) -> Path:
    place = caches.folder / "hub" / "public" / "huggingface" / "model" / name
    (place / "rev").mkdir(parents=True)
    (place / "rev" / "weights").write_bytes(b"w" * size)
    whole_mark(place, "rev")
    os.utime(place / "rev.whole", (time.time() - age_s,) * 2)
    return place / "rev"


def dataset(caches: Caches, digest: str, *, age_s: float) -> Path:
    path = caches.folder / "inputs" / digest
    path.write_bytes(b"rows")
    os.utime(path, (time.time() - age_s,) * 2)
    return path


def live(**more: Any) -> Record:
    return Record(instance=2, attempt=1, phase=Phase.RUNNING, **more)


def test_a_dataset_leaves_a_day_after_its_last_job(caches: Caches) -> None:
    old, young = dataset(caches, "aa", age_s=DAY_S + 60), dataset(caches, "bb", age_s=DAY_S - 60)
    half = dataset(caches, "dd.part", age_s=DAY_S + 60)
    used = dataset(caches, "cc", age_s=10 * DAY_S)
    wanted = Input(target="/lf/inputs/x", url="/x", sha256="CC", size_bytes=4)
    caches.live = lambda: [live(spec=start_command(2, ["x"], inputs=[wanted]))]
    kept = model(caches, "org--a", age_s=10 * DAY_S)
    caches.sweep()
    assert [one.exists() for one in (old, young, half, used, kept)] == [
        False,
        True,
        False,
        True,
        True,
    ]


def test_the_longest_unused_goes_when_it_is_too_much(caches: Caches) -> None:
    caches._cap_bytes = 2500
    oldest = model(caches, "org--a", age_s=3 * DAY_S)
    mounted = model(caches, "org--b", age_s=5 * DAY_S)
    newer = model(caches, "org--c", age_s=DAY_S)
    caches.live = lambda: [live(fetched={"/lf/model": str(mounted / "sub")})]
    caches.make_room(0)
    assert [one.exists() for one in (oldest, mounted, newer)] == [False, True, True]
    assert not oldest.with_name("rev.whole").exists()
    assert list((caches.folder / "trash").iterdir()) == []
    caches.make_room(1000)
    assert [one.exists() for one in (mounted, newer)] == [True, False]


def test_what_was_used_just_now_stays(caches: Caches) -> None:
    caches._cap_bytes = 1
    young = model(caches, "org--a", age_s=5)
    caches.make_room(10**6)
    assert young.exists()


def test_a_tenth_of_the_disk_stays_free(caches: Caches, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches_module, "FREE_PART", 0.10)
    usage = SimpleNamespace(total=10_000, free=1_500)
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage)
    kept = model(caches, "org--a", age_s=DAY_S)
    caches.make_room(400)
    assert kept.exists()
    caches.make_room(600)
    assert not kept.exists()


def test_a_deleted_dataset_leaves_unless_a_live_job_has_it(caches: Caches) -> None:
    gone, half = dataset(caches, "a" * 64, age_s=5), dataset(caches, "a" * 64 + ".part", age_s=5)
    kept, used = dataset(caches, "b" * 64, age_s=5), dataset(caches, "c" * 64, age_s=5)
    wanted = Input(target="/lf/inputs/x", url="/x", sha256="c" * 64, size_bytes=4)
    caches.live = lambda: [live(spec=start_command(2, ["x"], inputs=[wanted]))]
    others: Any = None
    commands = Commands(journal=others, supervisor=others, discard=caches.discard, staging=others)
    for _time in range(2):  # the same again is nothing
        commands.handle(command_dump(Discard(id="d", hashes=["a" * 64, "c" * 64, "e" * 64])))
    assert [one.exists() for one in (gone, half, kept, used)] == [False, False, True, True]


def test_heartbeats_name_all_that_lies_here_in_turn(
    caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches_module, "TOLD_MOST", 2)
    for letter in "abc":
        dataset(caches, letter * 64, age_s=5)
    dataset(caches, "d" * 64 + ".part", age_s=5)
    assert caches.inputs_told() == ["a" * 64, "b" * 64]
    assert caches.inputs_told() == [], "once a minute"
    monkeypatch.setattr(caches_module, "TOLD_EVERY_S", 0.0)
    assert caches.inputs_told() == ["c" * 64]
    assert caches.inputs_told() == ["a" * 64, "b" * 64]


def test_the_node_tells_its_models_when_they_change_and_once_a_minute(
    caches: Caches, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert caches.models_told() == []
    assert caches.models_told() is None
    model(caches, "org@a", age_s=5)
    model(caches, "org@b@@gguf@q4", age_s=5)
    model(caches, "org@c@@@0123", age_s=5)  # a name too long to be read back
    (caches.folder / "hub" / "public" / "huggingface" / "model" / "org@d" / "half").mkdir(
        parents=True
    )
    own = caches.folder / "hub" / "user-7" / "huggingface" / "model" / "org@e"
    (own / "rev").mkdir(parents=True)
    whole_mark(own, "rev")
    found = ["huggingface:org/a@rev", "huggingface:org/b:gguf/q4@rev"]
    assert caches.models_told() == found
    assert caches.models_told() is None
    monkeypatch.setattr(caches_module, "TOLD_EVERY_S", 0.0)
    assert caches.models_told() == found
