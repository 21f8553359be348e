"""A CPU slot is its share of the cores."""

import psutil
import pytest

from nodeagent.contract.commands import Start
from nodeagent.supervisor.parts import cpu_share


@pytest.mark.parametrize(
    ("devices", "processes", "slots", "threads"),
    [
        (["cpu-0"], 1, 2, "4"),
        (["cpu-0", "cpu-1"], 1, 2, "8"),
        (["cpu-0", "cpu-1"], 2, 2, "4"),
        (["cpu-0"], 1, 16, "1"),
        (["GPU-1"], 1, 0, None),
    ],
)
def test_threads_of_a_job(
    monkeypatch: pytest.MonkeyPatch,
    devices: list[str],
    processes: int,
    slots: int,
    threads: str | None,
) -> None:
    monkeypatch.setattr(psutil, "cpu_count", lambda: 8)
    start = Start(
        id="1", instance=1, attempt=1, argv=[], devices=devices, spec_hash="x", processes=processes
    )
    assert cpu_share(start, slots=slots).get("OMP_NUM_THREADS") == threads
