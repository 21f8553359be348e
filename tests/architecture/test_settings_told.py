"""Every setting stands in docs/settings.md, and everything that stands there is one."""

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import yaml

from nodeagent.config import settings_read

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
NODE = {
    "LORAFORGE_NODE_NAME": "n1",
    "LORAFORGE_NODE_TOKEN": "lfn_x",
    "LORAFORGE_SERVER": "http://plane",
    "LORAFORGE_DATA": "/data",
}
# What the image, or the compose file itself, decides.
FIXED_BY_COMPOSE = {
    "LORAFORGE_DATA", "LORAFORGE_STATIC_ROOT", "LORAFORGE_PORT", "LORAFORGE_RUNTIME", "LORAFORGE_FLOWER_URL",
}  # fmt: skip


class Recorded(Mapping[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)


def rows() -> Iterator[tuple[str, list[str]]]:
    """(first column, the others) of every row of every table."""
    for line in (ROOT / "docs" / "settings.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("|") and "`" in cells[0]:
            yield cells[0], cells[1:]


@pytest.fixture(scope="module")
def told() -> list[str]:
    return [name for first, _others in rows() for name in re.findall(r"`([A-Za-z_]+)`", first)]


@cache
def patterns_read(folder: Path) -> set[str]:
    """What `env` of loraforge.settings is asked for below a folder; a part that is computed as a pattern."""
    found: set[str] = set()
    for path in folder.rglob("*.py"):
        text = path.read_text()
        if "env." not in text:
            continue
        for call in ast.walk(ast.parse(text)):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == "env"
                and call.args
            ):
                found |= _pattern(call.args[0])
    return found


def _pattern(asked: ast.expr) -> set[str]:
    if isinstance(asked, ast.Constant):
        return {str(asked.value)}
    if isinstance(asked, ast.JoinedStr):
        parts = asked.values
        return {"".join(str(p.value) if isinstance(p, ast.Constant) else "[A-Z]+" for p in parts)}
    return set()  # prod.py asks again for what base.py reads


def test_every_setting_of_the_control_plane_is_told(told: list[str]) -> None:
    asked = patterns_read(ROOT / "loraforge")
    assert len(asked) > 30
    untold = [one for one in asked if not any(re.fullmatch(one, name) for name in told)]
    assert untold == []


def test_every_setting_of_the_node_agent_is_told(told: list[str]) -> None:
    environment = Recorded(NODE)
    settings_read([], environment)
    assert len(environment.asked) > 30
    assert environment.asked - set(told) == set()


def test_every_variable_of_the_compose_file_is_told(told: list[str]) -> None:
    asked = set(re.findall(r"\$\{([A-Z_]+)", COMPOSE.read_text()))
    assert asked - set(told) == set()


def test_the_compose_file_passes_every_setting_on() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    passed = set(services["web"]["environment"])
    asked = patterns_read(ROOT / "loraforge" / "settings")
    missing = [one for one in asked if not any(re.fullmatch(one, name) for name in passed)]
    assert sorted(missing) == sorted(FIXED_BY_COMPOSE)

    environment = Recorded(NODE)
    settings_read([], environment)
    agents = set(services["nodeagent"]["environment"])
    wanted = {
        one
        for one in environment.asked
        if re.match(r"LORAFORGE_(JOB|LOG|PREPARE|CACHE|FETCH)", one)
    }
    assert wanted
    assert wanted - agents == set()


def test_each_is_told_once_with_its_meaning_and_is_read_somewhere(told: list[str]) -> None:
    twice = {name for name in told if told.count(name) > 1}
    assert twice == {"LORAFORGE_DATA"}, (
        "an agent and the control plane have folders of their own in it"
    )
    assert [first for first, others in rows() if len(others) != 2 or not others[1]] == []
    folders = ("loraforge", "nodeagent", "tools", "tests/benchmarks", "tests/e2e/faults")
    texts = [path.read_text() for folder in folders for path in (ROOT / folder).rglob("*.py")]
    everything = "\n".join([*texts, COMPOSE.read_text()])
    computed = [one for one in patterns_read(ROOT / "loraforge") if "[" in one]
    computed += [r"LORAFORGE_PREPARE_[A-Z]+_S", r"LORAFORGE_JOB_(USER|MEMORY|CPUS)"]
    unread = [
        name
        for name in told
        if not re.search(rf"\b{name}\b", everything)
        and not any(re.fullmatch(one, name) for one in computed)
    ]
    assert unread == []
