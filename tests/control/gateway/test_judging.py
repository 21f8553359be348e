"""What an end means, and why it failed: tables."""

from pathlib import Path

import pytest

from loraforge.gateway.ending import Ending, judge
from loraforge.gateway.failures import failure_find
from loraforge.instances.states import State
from nodeagent.contract.phases import Outcome

END, STOP, NONE = Outcome.TRAIN_END, Outcome.STOPPED, Outcome.NONE


@pytest.mark.parametrize(
    ("ending", "state", "saved"),
    [
        (Ending(exit_code=0, outcome=END), State.SUCCEEDED, False),
        (Ending(exit_code=0), State.SUCCEEDED, False),  # a command without the plugin
        (
            Ending(exit_code=0, outcome=END, stop="save"),
            State.SUCCEEDED,
            False,
        ),  # was faster than the stop
        (Ending(exit_code=0, outcome=STOP, stop="save"), State.STOPPED, True),
        (Ending(exit_code=1, outcome=STOP, stop="save"), State.STOPPED, True),  # torchrun
        (Ending(exit_code=143, killed_by=15, stop="save"), State.STOPPED, False),
        (Ending(exit_code=241, stop="now"), State.STOPPED, False),
        (Ending(exit_code=1, stop="now"), State.STOPPED, False),
        (Ending(exit_code=0, stop="save"), State.STOPPED, False),
        (Ending(stop="save"), State.STOPPED, False),  # never started
        (Ending(exit_code=1, stop="save"), State.FAILED, False),  # an error of its own
        (Ending(exit_code=0, outcome=STOP), State.FAILED, True),  # somebody else stopped it
        (Ending(exit_code=1), State.FAILED, False),
        (Ending(exit_code=1, outcome=END), State.FAILED, False),
        (Ending(reason="model:not_found"), State.FAILED, False),
        (Ending(exit_code=0, reason="node:rebooted"), State.FAILED, False),
    ],
)
def test_judge(ending: Ending, state: State, saved: bool) -> None:
    verdict = judge(ending)
    assert (verdict.state, verdict.saved) == (state, saved)


TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "x.py", line 1',
    "KeyError: 'messages'",
    "",
    "done",
]


OUT_OF_MEMORY = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB"
UNKNOWN_ARGUMENT = "ValueError: remaining_argv: ['--foo']"
BAD_ARGUMENT = "sft.py: error: argument --seed: invalid int value: 'x'"
DISK_FULL = "OSError: [Errno 28] No space left on device"


@pytest.mark.parametrize(
    ("ending", "lines", "reason", "detail"),
    [
        (Ending(exit_code=1), ["a", OUT_OF_MEMORY, "b"], "user:gpu_out_of_memory", OUT_OF_MEMORY),
        (
            Ending(exit_code=1),
            [*TRACEBACK[:2], UNKNOWN_ARGUMENT],
            "user:unknown_argument",
            UNKNOWN_ARGUMENT,
        ),
        (Ending(exit_code=2), [BAD_ARGUMENT], "user:bad_argument", BAD_ARGUMENT),
        (Ending(exit_code=1), TRACEBACK, "code:exception", "KeyError: 'messages'"),
        (Ending(exit_code=137), ["step 7"], "node:killed", "step 7"),
        (Ending(exit_code=247), ["step 7"], "node:killed", "step 7"),
        (Ending(killed_by=9), [], "node:killed", ""),
        (Ending(killed_by=11), ["x"], "code:crashed", "signal 11. x"),
        (Ending(exit_code=3), ["bye", ""], "code:exit", "exit code 3. bye"),
        (Ending(exit_code=1), [DISK_FULL], "node:disk_full", DISK_FULL),
        (
            Ending(reason="input:hash_differs", detail="x.jsonl"),
            TRACEBACK,
            "input:hash_differs",
            "x.jsonl",
        ),
    ],
)
def test_failure_find(ending: Ending, lines: list[str], reason: str, detail: str) -> None:
    failure = failure_find(ending=ending, lines=lines)
    assert (failure.reason, failure.detail) == (reason, detail)


def test_what_was_survived_long_ago_is_not_the_cause() -> None:
    lines = ["CUDA out of memory", *["step"] * 500, "KeyError: 1"]
    assert failure_find(ending=Ending(exit_code=1), lines=lines).reason == "code:exit"


def test_a_real_training_that_ran_out_of_memory() -> None:
    """The last lines of ms-swift 4.6.0 with torch 2.11 on an H100, as `make gpu-check` made them."""
    path = Path(__file__).parent / "real" / "out_of_memory.log"
    found = failure_find(ending=Ending(exit_code=1), lines=path.read_text().splitlines())
    assert found.reason == "user:gpu_out_of_memory"
    assert "Tried to allocate 10.04 GiB" in found.detail
