"""The committed catalogue: what it says, how fast it loads, and that it is what SWIFT says."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from loraforge.swift.catalogue import (
    DEFAULT_VERSION,
    FOLDER,
    CatalogueMissingError,
    catalogue_load,
    catalogue_versions,
)
from tests.swift.trainer import REPO

# Counted once by hand from SWIFT 4.6.0's own parsers.
COUNTS = {
    "sft": 333, "pt": 333, "rlhf": 481, "infer": 153, "deploy": 164, "rollout": 170, "export": 127,
    "merge-lora": 127, "eval": 174, "sample": 120, "app": 171, "web-ui": 4,
}  # fmt: skip


def test_every_command_has_all_its_arguments() -> None:
    commands = catalogue_load().commands
    assert {name: len(command.arguments) for name, command in commands.items()} == COUNTS
    assert len({name for command in commands.values() for name in command.arguments}) == 566
    assert commands["merge-lora"].module == "swift.cli.merge_lora"


def test_arguments_are_described_as_swift_takes_them() -> None:
    sft = catalogue_load().commands["sft"].arguments
    assert (sft["learning_rate"].kind, sft["learning_rate"].default) == ("float", None)
    assert (sft["max_length"].flags, sft["max_length"].optional) == (
        ("--max_length", "--max-length"),
        True,
    )
    assert sft["gradient_checkpointing"].negative_flags[0] == "--no_gradient_checkpointing"
    assert sft["quant_bits"].choices == (1, 2, 3, 4, 8, "float8")
    assert (sft["dataset"].kind, sft["dataset"].nargs) == ("list_str", "+")
    assert (sft["lr_scheduler_kwargs"].kind, sft["bf16"].kind) == ("json", "bool")
    assert sft["optim"].choices_enforced
    assert "lora" in catalogue_load().registries["tuner_type"]


def test_commands_differ_where_swift_does() -> None:
    commands = catalogue_load().commands
    defaults = {name: commands[name].arguments["temperature"].default for name in ("sft", "rlhf")}
    assert defaults["sft"] != defaults["rlhf"]


def test_search_and_closest() -> None:
    sft = catalogue_load().commands["sft"]
    assert "lora_rank" in [argument.name for argument in sft.search("LoRA rank")]
    assert sft.search("no such thing") == []
    closest = sft.closest("lora_ran")
    assert closest is not None
    assert closest.name == "lora_rank"
    assert sft.closest("zzzzzz") is None


def test_an_unknown_release_is_said_so() -> None:
    assert catalogue_versions() == [DEFAULT_VERSION]
    for version in ("9.9.9", "../../../etc/passwd"):
        with pytest.raises(CatalogueMissingError):
            catalogue_load(version)


def test_it_is_read_once_and_quickly() -> None:
    catalogue_load.cache_clear()
    before = time.perf_counter()
    first = catalogue_load()
    assert time.perf_counter() - before < 0.5
    assert catalogue_load() is first


def test_no_trace_of_the_machine_that_made_it() -> None:
    for path in FOLDER.glob("*.json"):
        text = path.read_text(encoding="utf-8")
        assert "site-packages" not in text
        assert str(REPO) not in text
        assert " object at 0x" not in text


def test_the_package_needs_nothing_of_the_control_plane() -> None:
    code = (
        "import sys, loraforge.swift.rules, loraforge.swift.compiler;"
        "loraforge.swift.rules.arguments_check('sft', {'lora_rank': 8});"
        "bad = {'django', 'celery', 'redis', 'rest_framework'} & set(sys.modules);"
        "assert not bad, bad"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPO)


@pytest.mark.swift
@pytest.mark.slow
def test_it_is_what_the_installed_swift_says(swift_python: str, tmp_path: Path) -> None:
    tool = [swift_python, str(REPO / "tools" / "swift_catalogue.py")]
    subprocess.run([*tool, "--folder", str(tmp_path)], check=True, capture_output=True)
    made = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_bytes() for path in FOLDER.glob(f"{DEFAULT_VERSION}.*")}


@pytest.mark.swift
@pytest.mark.slow
def test_check_finds_a_changed_file(swift_python: str, tmp_path: Path) -> None:
    for path in FOLDER.glob("*.json"):
        changed = path.read_text(encoding="utf-8").replace('"lora_rank"', '"lora_rang"')
        (tmp_path / path.name).write_text(changed, encoding="utf-8")
    tool = [swift_python, str(REPO / "tools" / "swift_catalogue.py")]
    result = subprocess.run(
        [*tool, "--check", "--folder", str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert f"{DEFAULT_VERSION}.json is not what" in result.stderr
    assert f"{DEFAULT_VERSION}.models.json is not what" not in result.stderr
