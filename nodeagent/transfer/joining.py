"""Joining the cluster: one HTTP call, repeated until the control plane answers."""

import logging
import time
from collections.abc import Callable

import httpx
import msgspec

from nodeagent.contract.joining import JoinAnswer, JoinRequest

log = logging.getLogger(__name__)

MAX_SKEW_S = 2.0
FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 10.0
# An agent that is gone counts as there for a while; a new one in its place waits for that.
SERVED = "nodes:already_served"
SERVED_PATIENCE_S = 30.0
CLOCK = "nodes:clock_skew"
PATH = "/api/v1/agent/join/"

_REMEDIES = {
    400: "The control plane does not understand this agent; are both of the same release?",
    401: "The token is wrong or was withdrawn. Make a new one on the control plane (node_add).",
    403: "This token is for another node. Check the name and the token.",
    404: "There is no LoRAForge at this address. Check --server.",
}  # 409 says itself what to do


class JoinRefused(Exception):
    """The control plane said no, or the answer makes working impossible; the text says what to do."""


def _refusal(answer: httpx.Response) -> str:
    text = f"{answer.status_code}"
    try:
        error = answer.json()["error"]
        text = f"{error['id']}: {error['message']}"
    except (ValueError, KeyError, TypeError):
        log.debug("the refusal has no readable body")
    return f"{text} {_REMEDIES.get(answer.status_code, '')}".rstrip()


def _checked(answer: httpx.Response, *, asked_at: float, answered_at: float) -> JoinAnswer:
    try:
        joined = msgspec.json.decode(answer.content, type=JoinAnswer)
        bytes.fromhex(joined.file_key)
    except (msgspec.MsgspecError, ValueError) as error:
        raise JoinRefused(f"The answer to joining is not understood: {error}") from error
    # the server read its clock somewhere between question and answer
    skew = max(asked_at - joined.clock, joined.clock - answered_at, 0.0)
    if skew > MAX_SKEW_S:
        raise JoinRefused(
            f"The clock of this machine is {skew:.1f} s off the control plane's; more than "
            f"{MAX_SKEW_S:.0f} s would run jobs twice. Set both by NTP "
            "(for example: timedatectl set-ntp true), then start the agent again."
        )
    return joined


def _retryable(answer: httpx.Response, *, waited_s: float, took_s: float) -> bool:
    """waited_s: since the first question. took_s: from this one to its answer."""
    status = answer.status_code
    if status == httpx.codes.CONFLICT and SERVED in answer.text:
        return waited_s < SERVED_PATIENCE_S
    if status == httpx.codes.CONFLICT and CLOCK in answer.text:
        # read late by a busy control plane, a right clock looks as wrong as that took
        return took_s >= MAX_SKEW_S
    return status >= httpx.codes.INTERNAL_SERVER_ERROR or status in {408, 425, 429}


def cluster_join(
    *,
    server: str,
    token: str,
    request: Callable[[], JoinRequest],
    wait: Callable[[float], bool] | None = None,
    client: httpx.Client | None = None,
) -> JoinAnswer:
    """The control plane's answer. Repeats for ever while it cannot be reached or is in trouble (5xx).

    request: made anew for every try, since it carries the clock. wait: waits so many seconds and says
    whether to give up. Raises JoinRefused.
    """
    pause_s, began = FIRST_WAIT_S, time.monotonic()
    with client or httpx.Client(timeout=10.0) as http:
        while True:
            asked_at, asked = time.time(), time.monotonic()
            try:
                answer = http.post(
                    f"{server}{PATH}",
                    content=msgspec.json.encode(request()),
                    headers={
                        "Authorization": f"Bearer {token}",
                        "Content-Type": "application/json",
                        "Accept": "application/json",
                    },
                )
            except httpx.TransportError as error:
                log.warning(
                    "joining: %s does not answer (%s); again in %.1f s", server, error, pause_s
                )
            else:
                if answer.is_success:
                    return _checked(answer, asked_at=asked_at, answered_at=time.time())
                now = time.monotonic()
                if not _retryable(answer, waited_s=now - began, took_s=now - asked):
                    raise JoinRefused(_refusal(answer))
                log.warning("joining: %s; again in %.1f s", _refusal(answer), pause_s)
            if _wait(wait, pause_s):
                raise JoinRefused("Ended before the control plane answered.")
            pause_s = min(pause_s * 2, LONGEST_WAIT_S)


def _wait(wait: Callable[[float], bool] | None, seconds: float) -> bool:
    if wait is not None:
        return wait(seconds)
    time.sleep(seconds)
    return False
