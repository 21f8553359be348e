import time
from pathlib import Path

import pytest

from loraforge.core.errors import Unavailable
from loraforge.nodelink.commands import command_send
from nodeagent.contract.commands import Stop
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
