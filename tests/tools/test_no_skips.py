"""tools/no_skips.py: in CI a test that steps aside is a failure, however it does it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SUITE = """
import pytest

def test_passes():
    assert True

@pytest.mark.skip(reason="by mark")
def test_by_mark():
    assert True

def test_by_call():
    pytest.skip("by call")

@pytest.mark.xfail(reason="known")
def test_known_fault():
    assert False
"""
WHOLE = 'import pytest\npytest.importorskip("no_such_module")\n'


def outcome(folder: Path, *plugins: str) -> str:
    """Last line of a pytest run of the suite."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:django", "-p", "no:randomly"]
    command += ["-c", "/dev/null", "--rootdir", str(folder), *plugins, str(folder)]
    # without the plugins of this environment: loading them takes four seconds each time
    environment = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    return done.stdout.strip().splitlines()[-1]


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "test_suite.py").write_text(SUITE, encoding="utf-8")
    return tmp_path


def test_every_skip_fails(suite: Path) -> None:
    without = outcome(suite)
    assert "1 passed, 2 skipped, 1 xfailed" in without
    within = outcome(suite, "-p", "tools.no_skips")
    assert "skipped" not in within
    assert "1 failed, 1 passed, 1 xfailed, 1 error" in within


def test_a_module_that_skips_itself_fails(tmp_path: Path) -> None:
    (tmp_path / "test_whole.py").write_text(WHOLE, encoding="utf-8")
    assert "1 skipped" in outcome(tmp_path)
    assert "1 error" in outcome(tmp_path, "-p", "tools.no_skips")
