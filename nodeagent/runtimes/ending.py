"""How a container is or ended, judged from the engine's word about it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from signal import NSIG, SIGKILL, SIGTERM
from typing import Any

from nodeagent.runtimes.base import State

KILLED = 128  # docker, like a shell, adds the signal to it
ENDED = {"exited", "dead"}
# what an engine that was restarted without live-restore leaves as the code of what it ended
CUT_OFF_CODES = {KILLED + SIGTERM, KILLED + SIGKILL, 255}


def state_judge(found: Mapping[str, Any] | None, *, boot: float, was_cut_off: bool) -> State:
    """The state behind GET /containers/{id}/json, None = there is no such container.

    boot: when this machine started, seconds since 1970. was_cut_off: the engine was away meanwhile and
    the agent itself sent no signal.
    """
    if found is None:
        return State(running=False, reason="container:gone")
    state = found["State"]
    if state["Status"] == "created":
        return State(running=False, reason="container:never_started")
    if state["Status"] not in ENDED:
        return State(running=True)
    if moment(state["StartedAt"]) < boot <= moment(state["FinishedAt"]):
        # it ran when the machine went down; the engine wrote an end and a code of its own
        return State(running=False, reason="node:rebooted")
    code = int(state["ExitCode"])
    killed_by = code - KILLED if KILLED < code < KILLED + NSIG else None
    if state.get("OOMKilled"):
        return State(
            running=False, exit_code=code, killed_by=int(SIGKILL), reason="node:oom_killed"
        )
    reason = "node:engine_restarted" if was_cut_off and code in CUT_OFF_CODES else ""
    return State(running=False, exit_code=code, killed_by=killed_by, reason=reason)


def moment(text: str) -> float:
    """Seconds since 1970 of the engine's RFC 3339 text in UTC, to the second."""
    return datetime.fromisoformat(text[:19]).replace(tzinfo=UTC).timestamp()
