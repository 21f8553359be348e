"""What the build of the training image takes over from this machine's pip, without an engine."""

import configparser
import io
import tarfile
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tools import swift_image


def unpacked(packed: bytes) -> tuple[configparser.RawConfigParser, dict[str, bytes]]:
    config = configparser.RawConfigParser()
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        files = {one.name: tar.extractfile(one).read() for one in tar}  # type: ignore[union-attr]
    config.read_string(files["pip.conf"].decode())
    return config, files


def test_settings_of_this_machine_are_taken_over(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("certificate")
    (tmp_path / "wheels").mkdir()
    settings = {
        "index-url": "https://mirror.example/simple",
        "extra-index-url": "https://more.example/simple file:///srv/simple",
        "find-links": f"{tmp_path}/wheels https://example/wheels /gone",
        "cert": str(tmp_path / "ca.pem"),
        "constraint": "/etc/constraints.txt",
    }
    places, folders = swift_image.wheels_split(settings, "http://127.0.0.1:1/s/")
    assert folders == [tmp_path / "wheels"]
    config, files = unpacked(swift_image.settings_pack(settings, places))
    assert dict(config["global"]) == {
        "index-url": "https://mirror.example/simple",
        "extra-index-url": "https://more.example/simple",
        "find-links": "http://127.0.0.1:1/s/0/ https://example/wheels",
        "cert": f"{swift_image.IN_BUILD}/cert.pem",
    }
    assert files["cert.pem"] == b"certificate"


def test_without_settings_there_is_nothing_to_take_over() -> None:
    config, files = unpacked(swift_image.settings_pack({}, []))
    assert (dict(config["global"]), list(files)) == ({}, ["pip.conf"])


def test_what_is_offered_while_it_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "a+b.whl").write_bytes(b"wheel")
    (tmp_path / "secret").write_bytes(b"secret")
    monkeypatch.setattr(
        swift_image, "pip_settings", lambda: {"find-links": str(tmp_path / "wheels")}
    )

    def get(url: str) -> bytes | int:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                found: bytes = answer.read()
        except urllib.error.HTTPError as error:
            return error.code
        return found

    with swift_image.pip_offered() as url:
        packed = get(f"{url}settings.tar")
        assert isinstance(packed, bytes)
        assert unpacked(packed)[0]["global"]["find-links"] == f"{url}0/"
        listing = get(f"{url}0/")
        assert isinstance(listing, bytes)
        assert b"a%2Bb.whl" in listing
        assert get(f"{url}0/a%2Bb.whl") == b"wheel"
        for other in (
            "0/..",
            "0/%2e%2e",
            "0/../secret",
            "0/%2e%2e%2fsecret",
            "1/",
            "x/",
            "",
            "0/wheels/a",
        ):
            assert get(f"{url}{other}") == 404
        host = url.rsplit("/", 2)[0]
        assert get(f"{host}/") == get(f"{host}/wrong/settings.tar") == 404


def test_the_image_says_which_swift_it_has() -> None:
    assert swift_image.TAG.endswith(f":{swift_image.swift_version()}")
