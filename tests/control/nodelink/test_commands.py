import time
from pathlib import Path

import pytest

from loraforge.core.celery import app
from loraforge.core.errors import Unavailable
from loraforge.nodelink.commands import command_send
from nodeagent.contract.commands import Start, Stop
from tests.control.gateway.conftest import broker, broker_use
from tests.factories.training import OnlineNodeFactory

__all__ = ["broker"]
pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def test_without_a_broker_it_says_so_in_bounded_time(broker: str, tmp_path: Path) -> None:
    broker_use(f"redis+socket://{tmp_path}/none.sock?virtual_host=0")
    began = time.monotonic()
    with pytest.raises(Unavailable):
        command_send(
            node=OnlineNodeFactory.build(name="n1"),
            command=Stop(id="x", instance=1, attempt=1, mode="now"),
        )
    assert time.monotonic() - began < 3


def test_what_monitors_see_of_a_command_is_its_name_only(
    broker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[dict[str, object]] = []
    monkeypatch.setattr(app, "send_task", lambda _name, **given: sent.append(given))
    command = Start(
        id="x", instance=41, attempt=2, argv=["--token", "secret"], devices=["cpu-0"],
        spec_hash="", env={"HF_TOKEN": "secret"},
    )  # fmt: skip
    command_send(node=OnlineNodeFactory.build(name="n1"), command=command)
    assert sent[0]["kwargsrepr"] == "start #41 attempt 2"
