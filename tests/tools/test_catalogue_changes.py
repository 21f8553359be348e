"""What is told when SWIFT's arguments change from one release to another."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from tools import catalogue_upgrade
from tools.catalogue_changes import changes, model_changes

FOLDER = catalogue_upgrade.FOLDER
VERSION = catalogue_upgrade.versions(FOLDER)[-1]


def read(suffix: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / f"{VERSION}{suffix}").read_text())
    return found


def test_nothing_is_told_of_the_same_release() -> None:
    assert changes(read(".json"), read(".json")) == []
    assert model_changes(read(".models.json"), read(".models.json")) == []


def test_what_came_went_and_changed() -> None:
    old = read(".json")
    new = deepcopy(old)
    for command in new["commands"].values():
        command["arguments"] = [one for one in command["arguments"] if one != "lora_rank"]
    new["commands"]["sft"]["arguments"].append("speed")
    new["arguments"]["speed"] = old["arguments"]["lora_rank"] | {"name": "speed", "default": 1}
    (key,) = [one for one in old["commands"]["rlhf"]["arguments"] if one.startswith("rlhf_type")]
    choices = new["arguments"][key]["choices"]
    new["arguments"][key]["choices"] = [*choices[1:], "xpo"]
    del new["commands"]["app"]
    new["packages"]["trl"] = "9.9"
    told = changes(old, new)
    assert f"~ package trl: {old['packages']['trl']} -> 9.9" in told
    assert "- command: app" in told
    assert "+ --speed: int, default 1 (sft)" in told
    assert f"~ --rlhf_type, choices: +xpo -{choices[0]} (rlhf)" in told
    (gone,) = [line for line in told if line.startswith("- --lora_rank")]
    assert "(sft, pt" in gone, "an argument of many commands is told once"


def test_models_that_came_and_went() -> None:
    old = read(".models.json")
    new = deepcopy(old)
    gone = new["models"].pop(0)
    new["models"].append({**gone, "ms": "org/new", "hf": "org/new"})
    new["model_types"]["new_type"] = {}
    told = model_changes(old, new)
    assert told == [
        "+ model type: new_type",
        "+ model: org/new",
        f"- model: {gone['ms']}",
    ]


def test_a_newer_release_is_compared_with_the_newest_here(tmp_path: Path) -> None:
    for suffix in (".json", ".models.json"):
        (tmp_path / f"4.10.0{suffix}").write_text(json.dumps(read(suffix)))
    assert catalogue_upgrade.versions(tmp_path) == ["4.10.0"]
    told = catalogue_upgrade.compare(tmp_path, FOLDER, "4.10.0")
    assert told == [f"SWIFT 4.10.0 beside {VERSION}:", "no difference"]


def test_without_an_image_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\necho 'No such image' >&2; exit 125\n")
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr("sys.argv", ["catalogue_upgrade", "none:1"])
    assert catalogue_upgrade.main() == 1
    assert "none:1 gives no catalogue:\nNo such image" in capsys.readouterr().err
