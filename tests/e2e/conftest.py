"""One real embedded stack for all end-to-end tests: own data folder, own port, real SWIFT on the CPU."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from loraforge.embedded.client import ApiClient
from tests.e2e.driver import REPOSITORY, SWIFT_PYTHON, LiveStack, dataset_upload, stack_running


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model and its data, made by the project's own tool."""
    folder = tmp_path_factory.mktemp("material") / "demo"
    subprocess.run(
        [str(SWIFT_PYTHON), "tools/demo_material.py", str(folder)], cwd=REPOSITORY, check=True
    )
    return folder


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, demo_folder: Path) -> Iterator[LiveStack]:
    """Started once; users alice, bob and carol (operator) exist. Ended with its trainings."""
    # A short folder: the unix socket of Redis lies in it.
    data = tmp_path_factory.mktemp("lf", numbered=True)
    with stack_running(data, demo_folder) as live:
        live.users_add(alice="researcher", bob="researcher", carol="operator")
        yield live


@pytest.fixture(scope="session")
def alice(stack: LiveStack) -> Iterator[ApiClient]:
    """A researcher's client."""
    with stack.api("alice") as api:
        yield api


@pytest.fixture(scope="session")
def bob(stack: LiveStack) -> Iterator[ApiClient]:
    """Another researcher's client."""
    with stack.api("bob") as api:
        yield api


@pytest.fixture(scope="session")
def dataset(alice: ApiClient, demo_folder: Path) -> dict[str, Any]:
    """The sample data, uploaded by alice."""
    return dataset_upload(alice, demo_folder / "data.jsonl")
