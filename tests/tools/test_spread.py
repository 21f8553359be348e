"""Which tests of a parallel run stay together, and which begin."""

import pytest

from tools.spread import STACKS, TOGETHER, WITH_STACK, group_of, next_of, rank_of


@pytest.mark.parametrize(
    ("nodeid", "group"),
    [
        ("tests/e2e/test_pages.py::test_a", "e2e"),
        ("tests/e2e/faults/test_short.py::test_a[1]", "faults"),
        ("tests/e2e/test_production_parts.py::test_a[docker]", "production"),
        ("tests/agent/test_worker.py::test_a", "tests/agent/test_worker.py::test_a"),
    ],
)
def test_what_shares_something_dear_stays_together(nodeid: str, group: str) -> None:
    assert group_of(nodeid) == group


def test_what_takes_long_begins_first() -> None:
    groups = [group_of(f"{path}x.py::test") for path in TOGETHER]
    assert groups == list(TOGETHER.values())
    singles = ["tests/swift/test_plugin.py::test_a", "tests/control/core/test_relay.py::test_a"]
    everything = [*singles[::-1], *groups]
    assert sorted(everything, key=rank_of)[-2:] == singles
    assert sorted(everything, key=rank_of)[0] == "e2e"


def test_only_so_many_stacks_at_a_time_as_long_as_there_is_something_else() -> None:
    stacks = sorted(WITH_STACK)
    running, later = set(stacks[:STACKS]), stacks[STACKS:]
    assert next_of([*later, "one", "two"], running) == "one"
    assert next_of([*later, "one", "two"], {*stacks[1:STACKS], "two"}) == later[0]
    assert next_of(later, running) == later[0], "nothing else is left"
