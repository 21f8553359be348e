"""A heartbeat names what matters, however many jobs a node has run."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

from nodeagent.contract.phases import Phase
from nodeagent.journal import Record
from nodeagent.runtimes.base import RuntimeAway
from nodeagent.supervisor import loop
from nodeagent.supervisor.loop import HELD_SETTLED, Supervisor


def supervisor_with(runs: list[tuple[int, bool]]) -> Supervisor:
    """One that only knows these (instance, settled) runs."""
    supervisor: Any = object.__new__(Supervisor)
    supervisor._lock = threading.RLock()
    supervisor._runs = {
        (number, 1): SimpleNamespace(
            settled=settled,
            record=Record(
                instance=number,
                attempt=1,
                phase=Phase.ENDED if settled else Phase.RUNNING,
                spec=None,
                spec_hash="x",
            ),
        )
        for number, settled in runs
    }
    return supervisor  # type: ignore[no-any-return]


def test_settled_attempts_leave_the_inventory_oldest_first() -> None:
    runs = [(1, False), *((number, True) for number in range(2, 1002)), (5000, False)]
    held = supervisor_with(runs).held()
    live = {one.instance for one in held if one.phase is Phase.RUNNING}
    settled = sorted(one.instance for one in held if one.phase is Phase.ENDED)
    assert live == {1, 5000}, "what lives is always named, however old"
    assert settled == list(range(1002 - HELD_SETTLED, 1002))


def test_a_step_that_hangs_does_not_hold_up_the_inventory(monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine that does not answer holds the supervisor's lock; the node is alive all the same."""
    monkeypatch.setattr(loop, "ASK_PATIENCE_S", 0.05)
    supervisor = supervisor_with([(1, False)])
    before = supervisor.held()
    hung, over = threading.Event(), threading.Event()

    def hang() -> None:
        with supervisor._lock:
            hung.set()
            over.wait(20)

    thread = threading.Thread(target=hang)
    thread.start()
    assert hung.wait(20)
    try:
        assert supervisor.held() == before != []
    finally:
        over.set()
        thread.join()


def test_what_runs_unknown_is_looked_for_again_and_again() -> None:
    """A container that comes later is told, one that was accepted during the look is none, and an engine
    that is away leaves the word of before.
    """
    supervisor: Any = supervisor_with([(1, False)])
    supervisor._removed, supervisor._looking, supervisor._unknown_at = {}, None, 0.0
    supervisor._workspace = SimpleNamespace(attempts=lambda: [(9, 1)], job=lambda *key: key)
    found: list[Any] = [["lf-1-a1"], ["lf-1-a1", "lf-9-a1", "lf-2-a1"], RuntimeAway("away"), []]

    def running(strange: list[Any]) -> list[str]:
        assert strange == [("lf-9-a1", (9, 1))]
        answer = found.pop(0)
        supervisor._runs[2, 1] = supervisor._runs[1, 1]  # accepted meanwhile
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    supervisor._parts = SimpleNamespace(runtime=SimpleNamespace(running=running))
    told = []
    with ThreadPoolExecutor(1) as supervisor._pool:
        for turn in range(4):
            supervisor._look_around(turn * loop.UNKNOWN_EVERY_S)
            supervisor._look_around(turn * loop.UNKNOWN_EVERY_S)  # not due yet
            supervisor._looking.result(20)
            told.append(supervisor.unknown)
    assert told == [[], ["lf-9-a1"], ["lf-9-a1"], []]
