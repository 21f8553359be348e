"""The demo's material is the same everywhere, readable by every user, and made only once."""

import json
import subprocess
from pathlib import Path

import pytest

from tests.swift.trainer import REPO

pytestmark = pytest.mark.swift


def _make(python: str, folder: Path) -> str:
    tool = REPO / "tools" / "demo_material.py"
    result = subprocess.run(
        [python, str(tool), str(folder)], check=True, capture_output=True, text=True
    )
    return result.stdout


def test_rows_are_conversations(material: Path) -> None:
    rows = [json.loads(line) for line in (material / "data.jsonl").read_text().splitlines()]
    assert len(rows) == 400
    for row in rows:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]


def test_everybody_may_read_it(material: Path) -> None:
    for path in material.rglob("*"):
        assert path.stat().st_mode & 0o004
    assert sorted(path.name for path in material.iterdir()) == ["data.jsonl", "model"]


def test_made_again_it_is_the_same_and_a_broken_one_is_made_anew(
    swift_python: str, material: Path, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    assert "made: data.jsonl, model" in _make(swift_python, tmp_path)
    for path in material.rglob("*.*"):
        assert (tmp_path / path.relative_to(material)).read_bytes() == path.read_bytes(), path.name
    assert "nothing" in _make(swift_python, tmp_path)
