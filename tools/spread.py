"""Pytest plugin: which tests of a parallel run stay together in one process, and which begin. Loaded by `make test`.

Tests that share what is dear (a whole stack, two nodes, names of containers on the machine's one engine)
run one after the other; all others go to whichever process is free. By path and not by
`pytest.mark.xdist_group`, which pytest-xdist 3.8.0 writes into `_nodeid`: pytest 9.2 does not read that any
more, so every group was silently torn apart.

What takes long begins first, so that no process works on alone at the end. A whole stack mostly waits (for
trainings to start, for services to come back), so there are more processes than cores; but never more stacks
than STACKS at a time, since their waits have time-outs.
"""

from itertools import islice

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

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
# Groups that run whole stacks with real trainings: so many at a time, as long as there is something else.
WITH_STACK = {"e2e", "production", "faults"}
STACKS = 2
# In this order they begin: minutes each; then single tests of many seconds; then all the rest as collected.
FIRST = ("e2e", "production", "faults", "postgres", "engine", "tests/swift/", "tests/agent/")


def group_of(nodeid: str) -> str:
    """The group of a test, or itself when it may run anywhere."""
    return next((name for path, name in TOGETHER.items() if nodeid.startswith(path)), nodeid)


def rank_of(group: str) -> int:
    """The lower, the sooner it begins."""
    return next((rank for rank, name in enumerate(FIRST) if group.startswith(name)), len(FIRST))


def next_of(waiting: list[str], running: set[str]) -> str:
    """Which of the groups that wait, in their order, begins now."""
    full = len(running & WITH_STACK) >= STACKS
    return next((one for one in waiting if not (full and one in WITH_STACK)), waiting[0])


class Spread(LoadScopeScheduling):
    """What takes long at the head; single tests fill what is left."""

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if not any(self.assigned_work.values()):  # the first of all
            for group in sorted(self.workqueue, key=rank_of):
                self.workqueue.move_to_end(group)
        running = {
            group
            for other, work in self.assigned_work.items()
            for group, tests in work.items()
            if other is not node and not all(tests.values())
        }
        # those with a stack are few and at the head: no need to look at thousands
        head = list(islice(self.workqueue, len(FIRST) + 1))
        self.workqueue.move_to_end(next_of(head, running), last=False)
        super()._assign_work_unit(node)


@pytest.hookimpl
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Spread:
    """In place of pytest-xdist's own."""
    return Spread(config, log)
