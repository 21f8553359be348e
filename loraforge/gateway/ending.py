"""What an attempt's end means for its instance. Pure."""

from dataclasses import dataclass

from loraforge.instances.states import State
from nodeagent.contract.phases import Outcome

# A shell and Python's subprocess tell a signal as 128 + n, SWIFT's launcher as 256 - n.
_SHELL_BASE = 128
_WRAPPED_BASE = 256
_SIGNAL_MAX = 64


@dataclass(frozen=True)
class Ending:
    """What is known of an end.

    reason, detail: the node's own, when it could not start or tell. stop: "", "save" or "now".
    """

    exit_code: int | None = None
    killed_by: int | None = None
    outcome: Outcome = Outcome.NONE
    reason: str = ""
    detail: str = ""
    stop: str = ""

    @property
    def signal(self) -> int | None:
        """The signal that ended it, also when a parent process only left it in the exit code."""
        if self.killed_by:
            return self.killed_by
        code = self.exit_code or 0
        for base, sign in ((_SHELL_BASE, 1), (_WRAPPED_BASE, -1)):
            number = (code - base) * sign
            if 0 < number <= _SIGNAL_MAX:
                return number
        return None


@dataclass(frozen=True)
class Verdict:
    """state is terminal; saved: a stop that left a checkpoint behind."""

    state: State
    saved: bool = False


def judge(ending: Ending) -> Verdict:
    """SUCCEEDED, STOPPED or FAILED.

    The trainer's closing event counts more than the exit code: a stop exits 0 like a success, and
    torchrun exits 1 after an orderly stop (both seen with ms-swift 4.6.0).
    """
    if ending.outcome is Outcome.TRAIN_END and ending.exit_code == 0:
        return Verdict(State.SUCCEEDED)
    if ending.stop:
        return _stopped(ending)
    if ending.outcome is Outcome.NONE and ending.exit_code == 0 and not ending.reason:
        return Verdict(State.SUCCEEDED)  # a command that the plugin does not speak for
    return Verdict(State.FAILED, saved=ending.outcome is Outcome.STOPPED)


def _stopped(ending: Ending) -> Verdict:
    """Asked to stop: an orderly end, a signal, or never started is a stop; an error of its own is not."""
    if ending.outcome is Outcome.STOPPED:
        return Verdict(State.STOPPED, saved=True)
    orderly = ending.exit_code in (0, None) or ending.signal is not None or ending.stop == "now"
    return Verdict(State.STOPPED if orderly else State.FAILED)
