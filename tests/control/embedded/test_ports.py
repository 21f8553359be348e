"""A port that somebody has is told before anything starts."""

import socket
from pathlib import Path

import pytest

from loraforge.core.errors import Conflict
from loraforge.embedded.stack import Stack, stack_prepare


def test_a_taken_port_is_told_with_the_remedy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(Conflict, match=rf"Port {port} .*LORAFORGE_PORT"):
            stack_prepare(Stack(data=tmp_path, port=port))
    assert not list(tmp_path.iterdir()), "nothing was begun"


def test_a_host_that_is_not_here_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAFORGE_HOST", "203.0.113.7")
    with pytest.raises(Conflict, match="LORAFORGE_HOST"):
        stack_prepare(Stack(data=tmp_path, port=0))
