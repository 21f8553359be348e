"""The tests of the control plane once more, on PostgreSQL: what they say must hold on both databases."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tools.postgres import Postgres

ROOT = Path(__file__).resolve().parents[2]
HERE = Path("tests/control")
# Locks, JSON, lengths and positions: where the databases differ. All the rest is in `make long`.
ALWAYS = ("core/test_columns.py", "gateway", "instances", "postgres", "scheduling", "telemetry")
LATER = sorted(
    path.name
    for path in (ROOT / HERE).iterdir()
    if path.name not in ALWAYS and any(path.glob("test_*.py"))
)

pytestmark = [pytest.mark.postgres, pytest.mark.redis]


def run_on(server: Postgres, *folders: str, timeout_s: float) -> None:
    """Run the tests of these folders of tests/control; fails with their report."""
    command = [sys.executable, "-m", "pytest", "-q", "--no-header", "-m", "not long and not swift"]
    if os.environ.get("CI") == "true":
        command += ["-p", "tools.no_skips"]
    done = subprocess.run(
        [*command, *(str(HERE / folder) for folder in folders)],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": server.url},
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_where_the_databases_differ(postgres: Postgres) -> None:
    run_on(postgres, *ALWAYS, timeout_s=880)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_the_rest(postgres: Postgres) -> None:
    run_on(postgres, *LATER, timeout_s=1780)
