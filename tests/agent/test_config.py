"""Settings: what is asked for, what is refused, and where things lie by default."""

import os
from pathlib import Path

import pytest

from nodeagent.config import REPOSITORY, ConfigError, settings_read
from nodeagent.worker import broker_url

ENV = {
    "LORAFORGE_NODE_NAME": "gpu-1",
    "LORAFORGE_NODE_TOKEN": "t",
    "LORAFORGE_SERVER": "http://cp:8000/",
    "LORAFORGE_RUNTIME": "process",
    "LORAFORGE_DATA": "/data",
    "PATH": "/bin",
    "SECRET_KEY": "x",
}


def test_from_the_environment_alone() -> None:
    settings = settings_read([], ENV)
    assert (settings.name, settings.token, settings.server) == ("gpu-1", "t", "http://cp:8000")
    assert settings.folder == Path("/data/node")
    assert settings.model_roots == (Path("/data/models"), Path("/data/demo"))
    assert settings.swift_python == REPOSITORY / ".venv-swift/bin/python"
    assert settings.trainer_env == {"PATH": "/bin"}
    assert (settings.slots(gpus=0), settings.slots(gpus=4)) == (2, 0)
    assert (settings.log_lines_per_job, settings.log_lines_per_node) == (5_000, 20_000)


def test_the_command_line_goes_first(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    argv = ["--name", "n2", "--token-file", str(tmp_path / "token"), "--data", "/x"]
    argv += ["--server", "https://cp", "--listen", "0.0.0.0:7000", "--cpu-slots", "5"]
    argv += ["--model-root", "/a", "--model-root", "/b", "--advertise", "http://me:7000/"]
    settings = settings_read(argv, {**ENV, "LORAFORGE_MODEL_ROOTS": "/c"})
    assert (settings.name, settings.token) == ("n2", "from-file")
    assert (settings.listen_host, settings.listen_port) == ("0.0.0.0", 7000)
    assert settings.model_roots == (Path("/a"), Path("/b"))
    assert settings.slots(gpus=4) == 5
    assert settings.advertise == "http://me:7000"


def test_roots_from_the_environment() -> None:
    roots = settings_read([], {**ENV, "LORAFORGE_MODEL_ROOTS": f"/c{os.pathsep}/d"}).model_roots
    assert roots == (Path("/c"), Path("/d"))


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"LORAFORGE_NODE_NAME": ""}, "name"),
        ({"LORAFORGE_NODE_NAME": "a.b"}, "name"),
        ({"LORAFORGE_NODE_NAME": "Node"}, "name"),
        ({"LORAFORGE_NODE_TOKEN": ""}, "token"),
        ({"LORAFORGE_SERVER": ""}, "URL"),
        ({"LORAFORGE_SERVER": "redis://x"}, "URL"),
        ({"LORAFORGE_RUNTIME": "podman"}, "process"),
        ({"LORAFORGE_JOB_NETWORK": "host"}, "LORAFORGE_JOB_NETWORK .* not 'host'"),
        ({"LORAFORGE_JOB_NETWORK": "container:redis"}, "docker network create"),
        ({"LORAFORGE_FETCH_NETWORK": "ns:/proc/1/ns/net"}, "LORAFORGE_FETCH_NETWORK"),
    ],
)
def test_refusals_name_the_remedy(change: dict[str, str], word: str) -> None:
    with pytest.raises(ConfigError, match=word):
        settings_read([], {**ENV, **change})


@pytest.mark.parametrize(
    ("url", "kombu"),
    [
        ("unix:///run/r.sock?db=0", "redis+socket:///run/r.sock?virtual_host=0"),
        ("unix:///run/r.sock", "redis+socket:///run/r.sock?virtual_host=0"),
        (
            "unix:///r.sock?db=3&password=p%2Fw",
            "redis+socket:///r.sock?virtual_host=3&password=p%2Fw",
        ),
        ("redis://u:p@h:6379/1", "redis://u:p@h:6379/1"),
        ("rediss://h/0", "rediss://h/0?ssl_cert_reqs=required"),
    ],
)
def test_broker_urls(url: str, kombu: str) -> None:
    assert broker_url(url) == kombu
