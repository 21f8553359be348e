"""The training environment, its parser and the tiny model, each made once."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.swift.trainer import PYTHON, REPO

Parse = Callable[[str, list[str]], dict[str, Any]]


@pytest.fixture(scope="session")
def swift_python() -> str:
    assert Path(PYTHON).exists(), (
        f"No training environment at {PYTHON}: see requirements/swift-cpu.in"
    )
    return PYTHON


@pytest.fixture(scope="session")
def swift_parse(swift_python: str) -> Iterator[Parse]:
    """(class of swift.arguments, argv) -> what SWIFT's own parser makes of it."""
    server = subprocess.Popen(
        [swift_python, str(Path(__file__).parent / "parse_server.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert server.stdin is not None
    assert server.stdout is not None
    requests, answers = server.stdin, server.stdout

    def parse(class_name: str, argv: list[str]) -> dict[str, Any]:
        requests.write(json.dumps([class_name, argv]) + "\n")
        requests.flush()
        answer: dict[str, Any] = json.loads(answers.readline())
        return answer

    yield parse
    requests.close()
    server.wait(timeout=20)
    answers.close()


@pytest.fixture(scope="session")
def material(swift_python: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the demo's tiny model and data."""
    folder = tmp_path_factory.mktemp("material")
    subprocess.run(
        [swift_python, str(REPO / "tools" / "demo_material.py"), str(folder)],
        check=True,
        capture_output=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )
    return folder
