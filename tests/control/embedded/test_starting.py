"""What a start says when this machine's own node does not come, and what an end says of trainings."""

import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from loraforge.core.errors import Unavailable
from loraforge.embedded import stack as stacks
from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> stacks.Stack:
    """A live one whose web answers; its node is online from before."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "nodeagent.log").write_text("first words\nlast words\n")
    monkeypatch.setattr(stacks, "is_live", lambda _stack: True)
    monkeypatch.setattr(stacks, "_web_ready", lambda _stack: True)
    monkeypatch.setattr(stacks, "AGENT_LOOK_S", 0.0)
    OnlineNodeFactory.create(name=stacks.NODE_NAME, joined_at=timezone.now() - timedelta(hours=1))
    return stacks.Stack(data=tmp_path, port=1)


def supervisor_says(monkeypatch: pytest.MonkeyPatch, state: str) -> None:
    command = [sys.executable, "-c", f"print('nodeagent   {state}')"]
    monkeypatch.setattr(stacks, "_supervisor", lambda _program: command)


def test_a_node_that_was_refused_is_told_with_its_last_words(
    stack: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor_says(monkeypatch, "EXITED")
    with pytest.raises(Unavailable, match="did not join: last words"):
        stacks.stack_wait_ready(stack, since=timezone.now(), timeout_s=30)


def test_a_node_that_is_online_from_before_the_start_is_waited_for(
    stack: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervisor_says(monkeypatch, "RUNNING")
    since = timezone.now()
    with pytest.raises(Unavailable, match="not ready within 1 s"):
        stacks.stack_wait_ready(stack, since=since, timeout_s=1)
    Node.objects.update(joined_at=timezone.now())
    stacks.stack_wait_ready(stack, since=since, timeout_s=30)


def test_services_that_have_ended_are_not_waited_for(
    stack: stacks.Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "is_live", lambda _stack: False)
    with pytest.raises(Unavailable, match="have ended"):
        stacks.stack_wait_ready(stack, since=timezone.now(), timeout_s=600)


def test_only_trainings_that_have_begun_go_on() -> None:
    assert stacks.goes_on_text() == ""
    begun = JobInstanceFactory.create()
    Instance.objects.filter(pk=begun.pk).update(state=State.RUNNING)
    JobInstanceFactory.create()
    assert stacks.goes_on_text().startswith("1 training(s) go on")
