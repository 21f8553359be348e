"""Joining under a name that another agent holds: waited for as long as a dead one counts as there, no longer."""

import time
from collections.abc import Callable

import httpx
import msgspec
import pytest

from nodeagent.contract.joining import JoinAnswer, JoinRequest
from nodeagent.transfer import joining
from nodeagent.transfer.joining import JoinRefused, cluster_join

ANSWER = JoinAnswer(cluster="c", redis_url="redis://x", file_key="00" * 32, clock=0.0)
OFF = {"error": {"id": joining.CLOCK, "message": "Off by -4.0 s.", "fields": {}}}
HELD = {"error": {"id": joining.SERVED, "message": "Another one is there.", "fields": {}}}


def request_make() -> JoinRequest:
    return JoinRequest(
        node="n1", boot_id="b", agent_version="1", runtime="process", hostname="h", file_url="u",
        clock=time.time(), cpu_count=1, memory_bytes=1, disk_total_bytes=1, disk_free_bytes=1,
    )  # fmt: skip


def join(answer: Callable[[], httpx.Response], waits: list[float]) -> JoinAnswer:
    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return False

    client = httpx.Client(transport=httpx.MockTransport(lambda _request: answer()))
    return cluster_join(
        server="http://plane", token="t", request=request_make, wait=wait, client=client
    )


def answer_now() -> httpx.Response:
    now = msgspec.structs.replace(ANSWER, clock=time.time())
    return httpx.Response(200, content=msgspec.json.encode(now))


def answer_late() -> httpx.Response:
    time.sleep(0.3)
    return httpx.Response(409, json=OFF)


def test_the_place_of_an_agent_that_is_gone_is_waited_for() -> None:
    waits: list[float] = []

    def answer() -> httpx.Response:
        return httpx.Response(409, json=HELD) if len(waits) < 3 else answer_now()

    assert join(answer, waits).cluster == "c"
    assert len(waits) == 3


def test_an_agent_that_stays_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "SERVED_PATIENCE_S", 0.0)
    with pytest.raises(JoinRefused, match="Another one is there"):
        join(lambda: httpx.Response(409, json=HELD), [])


def test_a_clock_that_was_read_late_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A control plane that was frozen when an agent asked told it that its clock was wrong, and it ended."""
    monkeypatch.setattr(joining, "MAX_SKEW_S", 0.2)
    answers = [answer_late, answer_now]
    waits: list[float] = []

    def answer() -> httpx.Response:
        return answers.pop(0)()

    assert join(answer, waits).cluster == "c"
    assert len(waits) == 1


def test_a_clock_that_was_read_at_once_and_is_wrong_is_refused() -> None:
    with pytest.raises(JoinRefused, match=r"Off by -4\.0 s\.$"):
        join(lambda: httpx.Response(409, json=OFF), [])
