"""Pytest plugin: which tests of a parallel run stay together in one process. Loaded by `make test`.

Tests that share what is dear (a whole stack, two nodes, names of containers on the machine's one engine)
run one after the other; all others go to whichever process is free. By path and not by
`pytest.mark.xdist_group`, which pytest-xdist 3.8.0 writes into `_nodeid`: pytest 9.2 does not read that any
more, so every group was silently torn apart.
"""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

# The first that a test's path begins with decides.
TOGETHER = {
    "tests/e2e/faults/": "faults",
    "tests/e2e/test_production_parts.py": "production",
    "tests/e2e/": "e2e",
    "tests/agent/test_docker.py": "engine",
    "tests/agent/test_pulling.py": "engine",
    "tests/agent/test_hub.py": "engine",
    "tests/agent/test_runtimes.py": "engine",
    "tests/control/test_on_postgres.py": "postgres",
}


def group_of(nodeid: str) -> str:
    """The group of a test, or itself when it may run anywhere."""
    return next((name for path, name in TOGETHER.items() if nodeid.startswith(path)), nodeid)


class Spread(LoadScopeScheduling):
    """Groups first, the largest at the head; single tests fill what is left."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Spread:
    """In place of pytest-xdist's own."""
    return Spread(config, log)
