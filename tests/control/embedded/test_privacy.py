"""Whoever else has an account on this machine reads neither passwords nor sessions nor datasets."""

from pathlib import Path

import pytest

from loraforge.embedded.stack import Stack, private_make
from loraforge.settings.env import data_folder


def mode_of(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_new_data_folder_is_its_owners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAFORGE_DATA", str(tmp_path / "new"))
    assert mode_of(data_folder()) == 0o700


def test_what_an_older_one_left_open_is_closed(tmp_path: Path) -> None:
    """The folder itself may be anybody's, such as a mounted disk: what lies in it is what counts."""
    tmp_path.chmod(0o755)
    for name in ("logs", "storage", "models"):
        (tmp_path / name).mkdir(mode=0o755)
    for name in ("loraforge.sqlite3", "loraforge.sqlite3-wal"):
        (tmp_path / name).touch(mode=0o644)
    private_make(Stack(data=tmp_path, port=1))
    assert [mode_of(tmp_path / name) for name in ("logs", "storage")] == [0o700, 0o700]
    assert mode_of(tmp_path / "loraforge.sqlite3") == 0o600
    assert mode_of(tmp_path / "loraforge.sqlite3-wal") == 0o600
    assert [mode_of(tmp_path), mode_of(tmp_path / "models")] == [0o755, 0o755]
