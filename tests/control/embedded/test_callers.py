"""On one machine nobody stands between a caller and the web process, so nobody is believed about callers."""

from pathlib import Path
from typing import Any

import pytest
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from loraforge.embedded import stack as stack_module
from loraforge.embedded.stack import Stack, stack_prepare


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stack:
    for name in ("call_command", "_static_collect", "_node_ensure"):
        monkeypatch.setattr(stack_module, name, lambda *_given, **_named: None)
    monkeypatch.setattr(stack_module, "_redis_server", lambda _stack: "redis-server")
    monkeypatch.delenv("LORAFORGE_PROXIES", raising=False)
    return Stack(data=tmp_path, port=0)


async def caller_of(environment: dict[str, str]) -> Any:
    """Whom the application takes for its caller when one of this machine claims to be another."""
    seen: list[Any] = []

    async def application(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope["client"][0])

    trusted = environment["FORWARDED_ALLOW_IPS"]
    claims = [(b"x-forwarded-for", b"203.0.113.9")]
    scope: Any = {"type": "http", "client": ("127.0.0.1", 5), "headers": claims}
    unused: Any = None
    await ProxyHeadersMiddleware(application, trusted_hosts=trusted)(scope, unused, unused)
    return seen[0]


async def test_a_local_caller_is_not_believed_to_be_another(stack: Stack) -> None:
    assert await caller_of(stack_prepare(stack)) == "127.0.0.1"


async def test_a_proxy_that_is_named_is_believed(
    stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LORAFORGE_PROXIES", "127.0.0.1")
    assert await caller_of(stack_prepare(stack)) == "203.0.113.9"
