"""What stands in files for real use is tried: compose file, Redis' accounts, PostgreSQL's role, settings."""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import redis.exceptions
import yaml

from tools.postgres import Postgres, programs

ROOT = Path(__file__).resolve().parents[2]
SECRETS = (
    "LORAFORGE_SECRET_KEY",
    "POSTGRES_PASSWORD",
    "POSTGRES_SUPERUSER_PASSWORD",
    "REDIS_PASSWORD",
)


def compose_tool() -> list[str]:
    plugin = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
    if plugin.returncode == 0:
        return ["docker", "compose"]
    if shutil.which("docker-compose") is None:
        pytest.skip("no compose tool (apt install docker-compose)")
    return ["docker-compose"]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The compose file as a compose tool reads it, with .env made from .env.example."""
    folder = tmp_path_factory.mktemp("compose")
    shutil.copy(ROOT / "docker-compose.yml", folder)
    lines = (ROOT / ".env.example").read_text().splitlines()
    filled = [
        f"{line}{secrets.token_hex(8)}" if line.rstrip("=") in SECRETS else line for line in lines
    ]
    (folder / ".env").write_text("\n".join(filled))
    done = subprocess.run(
        [*compose_tool(), "--profile", "node", "config"],
        cwd=folder,
        env={"PATH": os.environ["PATH"], "HOME": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "variable is not set" not in done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


OURS = {"migrate", "web", "control", "beat", "relay", "ingest", "flower"}


def test_compose_has_every_process(composed: dict[str, Any]) -> None:
    assert set(composed["services"]) == OURS | {"postgres", "redis", "proxy", "nodeagent"}


def test_every_process_that_goes_on_is_asked_how_it_is(composed: dict[str, Any]) -> None:
    asked = {name for name, service in composed["services"].items() if "healthcheck" in service}
    assert asked == set(composed["services"]) - {"migrate"}


def test_a_process_whose_loops_stand_still_is_unhealthy(
    composed: dict[str, Any], tmp_path: Path
) -> None:
    (command,) = {
        composed["services"][name]["healthcheck"]["test"][1] for name in ("beat", "relay", "ingest")
    }
    alive = tmp_path / "alive"
    asked = ["sh", "-c", command.replace("$$", "$").replace("/tmp/alive", str(alive))]
    assert subprocess.run(asked, capture_output=True, check=False).returncode != 0
    alive.touch()
    assert subprocess.run(asked, check=False).returncode == 0
    os.utime(alive, (time.time() - 90, time.time() - 90))
    assert subprocess.run(asked, check=False).returncode != 0


def test_the_image_of_the_control_plane_is_not_root_s() -> None:
    stages = (ROOT / "Dockerfile").read_text().split("\nFROM ")
    (control,) = [stage for stage in stages if stage.partition("\n")[0].endswith(" AS control")]
    users = [line.split()[1] for line in control.splitlines() if line.startswith("USER ")]
    assert users == ["10000:10000"]
    assert control.index("\nUSER ") < control.index("\nCMD ")


@pytest.mark.parametrize("name", sorted(OURS))
def test_a_process_of_the_control_plane_has_no_rights(composed: dict[str, Any], name: str) -> None:
    service = composed["services"][name]
    assert service["read_only"]
    assert service["init"]
    assert service["cap_drop"] == ["ALL"]
    assert "ports" not in service
    assert "user" not in service, "the image says who: not root"
    assert "POSTGRES_SUPERUSER_PASSWORD" not in service["environment"]
    assert service["restart"] == ("no" if name == "migrate" else "unless-stopped")


def test_the_agents_data_has_one_path_inside_and_out(composed: dict[str, Any]) -> None:
    agent = composed["services"]["nodeagent"]
    for volume in agent["volumes"]:
        source, target = (
            volume.split(":")[:2]
            if isinstance(volume, str)
            else (volume["source"], volume["target"])
        )
        assert source == target
    assert agent["init"]
    assert agent["profiles"] == ["node"]


def test_every_process_starts_what_there_is(composed: dict[str, Any]) -> None:
    only = {service["command"][-1] for service in composed["services"].values()
            if "core_services" in service.get("command", [])}  # fmt: skip
    assert only == {"beat", "relay", "ingest"}


def test_production_settings_are_clean(tmp_path: Path) -> None:
    done = check_deploy(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "no issues (0 silenced)" in done.stdout


@pytest.mark.parametrize(
    ("name", "value"),
    [("LORAFORGE_SECRET_KEY", ""), ("DATABASE_URL", ""), ("REDIS_URL", ""), ("LORAFORGE_ALLOWED_HOSTS", ""),
     ("LORAFORGE_SECRET_KEY", "short"), ("LORAFORGE_SSL_REDIRECT", "false")],
)  # fmt: skip
def test_weak_production_settings_are_told(tmp_path: Path, name: str, value: str) -> None:
    assert check_deploy(tmp_path, **{name: value}).returncode != 0


def check_deploy(folder: Path, **changes: str) -> "subprocess.CompletedProcess[str]":
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "loraforge.settings.prod",
        "DATABASE_URL": "postgres://loraforge@127.0.0.1/loraforge",
        "REDIS_URL": "redis://127.0.0.1/0",
        "LORAFORGE_SECRET_KEY": secrets.token_urlsafe(64),
        "LORAFORGE_ALLOWED_HOSTS": "loraforge.example",
        "LORAFORGE_DATA": str(folder),
        **changes,
    }
    command = [sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING"]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@contextmanager
def redis_started(folder: Path, server: Path, password: str) -> Iterator[str]:
    """images/redis/start.sh with its folders below ``folder``; the address without an account."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = (ROOT / "images/redis/start.sh").read_text()
    script = script.replace("/data", str(folder)).replace("/tls", str(folder / "tls"))
    script = script.replace("exec redis-server", f"exec {server} --port {port} --bind 127.0.0.1")
    running = subprocess.Popen(
        ["sh", "-c", script],
        env={**os.environ, "REDIS_PASSWORD": password},
        stdout=subprocess.DEVNULL,
    )
    address = f"127.0.0.1:{port}/0"
    client = redis.Redis.from_url(f"redis://{address}")
    deadline = time.monotonic() + 20
    try:
        while True:
            try:
                client.ping()  # nobody signed in: as the health check asks
                break
            except redis.ConnectionError:
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield address
    finally:
        client.close()
        running.terminate()
        running.wait(20)


@pytest.mark.redis
def test_redis_has_accounts_that_outlive_a_restart(
    redis_server_binary: Path, tmp_path: Path
) -> None:
    with redis_started(tmp_path, redis_server_binary, "first") as address:
        nobody = redis.Redis.from_url(f"redis://{address}")
        with pytest.raises(redis.exceptions.NoPermissionError):
            nobody.get("x")
        ours = redis.Redis.from_url(f"redis://loraforge:first@{address}")
        for forbidden in ("FLUSHALL", "SHUTDOWN", "MONITOR"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                ours.execute_command(forbidden)
        ours.execute_command("ACL", "SETUSER", "lf-node-n1", "on", ">pw", "~n1.*", "+get")
        ours.acl_save()
        ours.set("kept", "1")
    with redis_started(tmp_path, redis_server_binary, "second") as address:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(f"redis://loraforge:first@{address}").ping()
        ours = redis.Redis.from_url(f"redis://loraforge:second@{address}")
        assert ours.get("kept") == b"1"
        assert redis.Redis.from_url(f"redis://lf-node-n1:pw@{address}").get("n1.x") is None


@pytest.mark.postgres
@pytest.mark.timeout(300)
def test_the_role_owns_its_database_and_nothing_else(postgres: Postgres, tmp_path: Path) -> None:
    """init.sh as the image runs it, then every migration as the role that it made."""
    port = postgres.url.rpartition(":")[2].partition("/")[0]
    script = (
        (ROOT / "images/postgres/init.sh")
        .read_text()
        .replace("DATABASE loraforge", "DATABASE lf_role")
    )
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{programs()}:{os.environ['PATH']}", "PGHOST": "127.0.0.1", "PGPORT": port,
             "LORAFORGE_PASSWORD": "it's \"odd\" $x"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    url = f"postgres://loraforge@127.0.0.1:{port}/lf_role"
    migrated = subprocess.run(
        [sys.executable, "manage.py", "migrate", "--no-input", "-v0"],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "LORAFORGE_DATA": str(tmp_path),
             "DJANGO_SETTINGS_MODULE": "loraforge.settings.base"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert migrated.returncode == 0, migrated.stderr
    with psycopg.connect(url) as ours:
        row = ours.execute(
            "select rolsuper, rolcreatedb, rolcreaterole, rolbypassrls from pg_roles where rolname = current_user"
        ).fetchone()
        assert row == (False, False, False, False)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            ours.execute("select * from pg_authid")
