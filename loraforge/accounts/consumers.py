"""The base of every websocket: who it is, may they, how many, how fast, and for how long.

Signed in by the session cookie, by ``Authorization: Bearer``, by the subprotocols ``loraforge`` and
``bearer.<token>``, or by a first message ``{"type": "auth", "token": "..."}``; never by the address, which
gets into logs. Who may not see what the socket is about gets the same answer as if it did not exist.
"""

import asyncio
import io
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

import msgspec
from channels.generic.websocket import AsyncWebsocketConsumer
from django.contrib.auth.middleware import AuthenticationMiddleware
from django.contrib.sessions.middleware import SessionMiddleware
from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, HttpResponse
from rest_framework.exceptions import APIException
from rest_framework.request import Request
from rest_framework.settings import api_settings

from loraforge.accounts.models import User
from loraforge.core.errors import Denied, Invalid, LoraForgeError
from loraforge.core.fanout import Frame
from loraforge.core.threads import in_thread
from nodeagent.contract.reading import UNREADABLE

log = logging.getLogger(__name__)

SUBPROTOCOL = "loraforge"
BEARER = "bearer."

BAD_REQUEST = 4400
UNAUTHENTICATED = 4401
FORBIDDEN = 4403
NOT_FOUND = 4404
BEHIND = 4408
TOO_MANY = 4429

SOCKETS_PER_USER = 10  # in one web process
MESSAGE_BYTES = 64 * 1024
MESSAGES_PER_S = 20
AUTH_WAIT_S = 5.0
RECHECK_S = 60.0
CLOSE_WAIT_S = 60.0

_sockets: Counter[int] = Counter()


class Feed(Protocol):
    """What a socket shows. `behind` is set when its reader is too slow."""

    behind: asyncio.Event

    def frames(self) -> AsyncGenerator[Frame, None]:
        """Frames without end; returning early means that the reader fell behind."""
        ...


@dataclass(frozen=True)
class Credentials:
    """How the client says who it is; asked again every RECHECK_S."""

    scope: dict[str, Any]
    token: str = ""

    def user(self) -> User | None:
        """The user, by the same classes that the API asks; None = nobody, or not any more. Queries SQL."""
        request = ASGIRequest({**self.scope, "method": "GET"}, io.BytesIO())
        if self.token:
            request.META["HTTP_AUTHORIZATION"] = f"Bearer {self.token}"
        SessionMiddleware(_unused).process_request(request)
        AuthenticationMiddleware(_unused).process_request(request)
        kinds: Any = api_settings.DEFAULT_AUTHENTICATION_CLASSES
        authenticators = [kind() for kind in kinds]
        try:
            user = Request(request, authenticators=authenticators).user
        except APIException:
            return None
        return user if isinstance(user, User) and user.is_active else None


def _unused(_request: HttpRequest) -> HttpResponse:
    return HttpResponse()


class _Auth(msgspec.Struct, tag="auth"):
    token: str


_auth = msgspec.json.Decoder(_Auth)


class SocketConsumer(AsyncWebsocketConsumer):
    """A subclass says what is shown: `feed_get`."""

    channel_layer_alias = (
        ""  # none: frames come from the fan-out, and a layer costs a subscription each
    )
    recheck_s: ClassVar[float] = RECHECK_S

    def feed_get(self, *, user: User) -> Feed:
        """What this user is shown here. Queries SQL. Raises a LoraForgeError when it may not be."""
        raise NotImplementedError

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._tasks: list[asyncio.Task[None]] = []
        self._user: User | None = None
        self._counted: int | None = None
        self._is_accepted = False
        self._is_ended = False
        self._messages = (0.0, 0)
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._release()

    def _release(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._counted is not None:
            _sockets[self._counted] -= 1
            if _sockets[self._counted] <= 0:
                del _sockets[self._counted]
            self._counted = None

    async def connect(self) -> None:
        token = next(
            (p[len(BEARER) :] for p in self.scope["subprotocols"] if p.startswith(BEARER)), ""
        )
        self._credentials = Credentials(scope=dict(self.scope), token=token)
        user = await in_thread(self._credentials.user)()
        if user is not None:
            await self._admit(user)
        elif token or any(name == b"authorization" for name, _value in self.scope["headers"]):
            await self._refuse(UNAUTHENTICATED)
        else:
            await self._accept()
            self._tasks.append(asyncio.create_task(self._wait_for_auth()))

    async def _accept(self) -> None:
        if not self._is_accepted:
            self._is_accepted = True
            await self.accept(SUBPROTOCOL if SUBPROTOCOL in self.scope["subprotocols"] else None)

    async def _admit(self, user: User) -> None:
        """Ask the rule, count, accept, begin."""
        try:
            feed = await in_thread(self.feed_get)(user=user)
        except LoraForgeError as error:
            await self._refuse(_code(error))
            return
        if _sockets[user.pk] >= SOCKETS_PER_USER:
            await self._refuse(TOO_MANY)
            return
        _sockets[user.pk] += 1
        self._counted = user.pk
        self._user = user
        await self._accept()
        pump = asyncio.create_task(self._pump(feed))
        self._tasks += [pump, asyncio.create_task(self._guard(feed, pump))]

    async def _refuse(self, code: int) -> None:
        """Before the handshake an HTTP answer, where the server can give one; after it a close code."""
        if self._is_accepted:
            await self._end(code)
        else:
            await _deny(self.scope, self.base_send, code)

    async def _wait_for_auth(self) -> None:
        await asyncio.sleep(AUTH_WAIT_S)
        if self._user is None:
            await self._end(UNAUTHENTICATED)

    async def _pump(self, feed: Feed) -> None:
        try:
            async with aclosing(feed.frames()) as frames:
                async for frame in frames:
                    await self.send(text_data=frame.text)
        except OSError:
            return  # the client went away
        except LoraForgeError as error:
            await self._end(_code(error))
        except Exception:
            log.exception("A live feed broke")
            await self._end(1011)

    async def _guard(self, feed: Feed, pump: "asyncio.Task[None]") -> None:
        """End it when the reader is too slow, or may not see this any more."""
        while True:
            with suppress(TimeoutError):
                await asyncio.wait_for(feed.behind.wait(), self.recheck_s)
                pump.cancel()
                await self._end(BEHIND)
                return
            code = await in_thread(self._recheck)()
            if code:
                pump.cancel()
                await self._end(code)
                return

    def _recheck(self) -> int:
        """0, or why not any more."""
        user = self._credentials.user()
        if user is None or user != self._user:
            return UNAUTHENTICATED
        try:
            self.feed_get(user=user)
        except LoraForgeError as error:
            return _code(error)
        return 0

    async def _end(self, code: int) -> None:
        """Close, once, whoever finds the first reason; a client that does not even read keeps us no longer
        than CLOSE_WAIT_S.
        """
        if self._is_ended:
            return
        self._is_ended = True
        with suppress(OSError, TimeoutError):
            await asyncio.wait_for(self.close(code), CLOSE_WAIT_S)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if self._is_ended:
            return  # what was on its way when it was closed
        raw = bytes_data if text_data is None else text_data.encode()
        if not self._is_in_measure(len(raw or b"")):
            await self._end(1008)
        elif self._user is None:
            await self._authenticate(raw or b"")

    def _is_in_measure(self, size_bytes: int) -> bool:
        since, count = self._messages
        now = time.monotonic()
        self._messages = (since, count + 1) if now - since < 1 else (now, 1)
        return size_bytes <= MESSAGE_BYTES and self._messages[1] <= MESSAGES_PER_S

    async def _authenticate(self, raw: bytes) -> None:
        try:
            self._credentials = replace(self._credentials, token=_auth.decode(raw).token)
        except UNREADABLE:
            await self._end(BAD_REQUEST)
            return
        user = await in_thread(self._credentials.user)()
        if user is None:
            await self._end(UNAUTHENTICATED)
        else:
            await self._admit(user)


def _code(error: LoraForgeError) -> int:
    """404 for everything that the asker may not know of."""
    if isinstance(error, Invalid):
        return BAD_REQUEST
    return FORBIDDEN if isinstance(error, Denied) else NOT_FOUND


async def _deny(scope: Any, send: Any, code: int) -> None:
    """Refuse a handshake with an HTTP status, where the server can send one."""
    if "websocket.http.response" not in (scope.get("extensions") or {}):
        await send({"type": "websocket.close", "code": code})
        return
    await send({"type": "websocket.http.response.start", "status": code - 4000, "headers": []})
    await send({"type": "websocket.http.response.body", "body": b""})


async def no_such_address(scope: Any, _receive: Any, send: Any) -> None:
    """Every other websocket address."""
    await _deny(scope, send, NOT_FOUND)
