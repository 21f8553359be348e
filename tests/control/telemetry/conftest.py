"""The web process as it runs for real: uvicorn with the flags of `loraforge.asgi`, a real Redis, real sockets."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis
import uvicorn
import websockets
from django.conf import settings as django_settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from loraforge.accounts.models import User
from loraforge.asgi import application
from loraforge.core.fanout import fanout


@pytest.fixture
def redis_client(redis_url: str, settings: Any) -> "redis.Redis":
    """The Redis that the code under test uses."""
    settings.REDIS_URL = redis_url
    return redis.Redis.from_url(redis_url)


def session_of(user: User) -> str:
    """The cookie of a browser in which this user is signed in."""
    store = SessionStore()
    store[SESSION_KEY] = str(user.pk)
    store[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    store[HASH_SESSION_KEY] = user.get_session_auth_hash()
    store.save()
    return f"{django_settings.SESSION_COOKIE_NAME}={store.session_key}"


@dataclass(frozen=True)
class Web:
    """A served application."""

    port: int

    def url(self, path: str) -> str:
        """The http address of a path."""
        return f"http://127.0.0.1:{self.port}{path}"

    def socket(self, path: str, *, cookie: str = "", token: str = "", **options: Any) -> Any:
        """A websocket: `async with web.socket(...) as socket`."""
        headers = {"Cookie": cookie} if cookie else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        return websockets.connect(
            f"ws://127.0.0.1:{self.port}{path}",
            additional_headers={**headers, **options.pop("headers", {})},
            compression=None, proxy=None, ping_interval=None, **options,
        )  # fmt: skip


@pytest.fixture
async def web(redis_client: "redis.Redis") -> AsyncIterator[Web]:
    """The web process, in the test's own event loop."""
    config = uvicorn.Config(
        application, host="127.0.0.1", port=0, ws="websockets-sansio", ws_per_message_deflate=False,
        ws_max_size=65_536, lifespan="on", log_level="error", timeout_graceful_shutdown=2,
    )  # fmt: skip
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())
    while not server.started:
        assert not serving.done()
        await asyncio.sleep(0.01)
    yield Web(port=server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    await serving
    await fanout().stop()
