"""A control plane and an agent for each test that asks for them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.plane import AgentProcess, Plane


@pytest.fixture
def plane(redis_url: str) -> Iterator[Plane]:
    plane = Plane(redis_url)
    yield plane
    plane.close()


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    folder.mkdir()
    return folder


@pytest.fixture
def idle_agent(plane: Plane, tmp_path: Path, models: Path) -> Iterator[AgentProcess]:
    """Not started yet."""
    agent = AgentProcess(plane, tmp_path / "node", models=models)
    yield agent
    agent.close()


@pytest.fixture
def agent(idle_agent: AgentProcess) -> AgentProcess:
    return idle_agent.start()
