"""Websockets of the real web process: who gets in, what they are shown, when they are let go."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
import msgspec
import pytest
from channels.exceptions import StopConsumer
from rest_framework_simplejwt.tokens import AccessToken
from websockets.exceptions import ConnectionClosedError, InvalidStatus

from loraforge.accounts import consumers
from loraforge.accounts.consumers import SocketConsumer
from loraforge.accounts.models import User
from loraforge.core import live
from loraforge.core.threads import in_thread
from loraforge.instances.models import Attempt
from loraforge.telemetry import services
from tests.control.telemetry.conftest import Web, session_of
from tests.control.telemetry.waiting import until
from tests.factories.accounts import ApiTokenFactory, UserFactory
from tests.factories.telemetry import AttemptFactory, pieces_of

if TYPE_CHECKING:
    import redis

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]

WAIT_S = 10


@pytest.fixture
def alice(transactional_db: None) -> User:
    user: User = UserFactory.create(username="alice")
    return user


@pytest.fixture
def attempt(alice: User) -> Attempt:
    row: Attempt = AttemptFactory.create(instance__owner=alice)
    return row


def token_of(user: User) -> str:
    """An API token of this user."""
    text = f"lfp_test-of-{user.pk}"
    ApiTokenFactory.create(owner=user, text=text)
    return text


def auth_message(token: str) -> str:
    return msgspec.json.encode({"type": "auth", "token": token}).decode()


async def read(socket: Any) -> dict[str, Any]:
    frame: dict[str, Any] = msgspec.json.decode(
        await asyncio.wait_for(socket.recv(decode=True), WAIT_S)
    )
    return frame


async def read_until(socket: Any, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    while True:
        frame = await read(socket)
        if wanted(frame):
            return frame


async def closed_with(socket: Any) -> int:
    await asyncio.wait_for(socket.wait_closed(), WAIT_S)
    return int(socket.close_code)


async def refused_with(connecting: Any) -> int:
    with pytest.raises(InvalidStatus) as caught:
        async with connecting:
            pass
    return caught.value.response.status_code


def path_of(attempt: Attempt, query: str = "") -> str:
    return f"/ws/jobs/{attempt.instance_id}/{query}"


async def store(attempt: Attempt, data: bytes, start: int = 0) -> list[tuple[str, dict[str, Any]]]:
    stored = await in_thread(services.chunk_store)(
        attempt=attempt, stream="log", start=start, end=start + len(data), data=data
    )
    return stored.frames


async def test_first_the_status_then_what_was_then_what_comes(
    web: Web, attempt: Attempt, alice: User, redis_client: "redis.Redis"
) -> None:
    await store(attempt, b"one\ntwo\n")
    cookie = await in_thread(session_of)(alice)
    async with web.socket(path_of(attempt, "?log_after=1:4"), cookie=cookie) as socket:
        status = await read(socket)
        assert (status["type"], status["taskId"]) == ("train_status", attempt.instance_id)
        past = await read(socket)
        assert (past["lines"], past["from"], past["to"]) == (["two"], 4, 8)
        live.publish(redis_client, await store(attempt, b"three\n", start=8))
        assert (await read(socket))["lines"] == ["three"]


async def test_every_way_of_signing_in(web: Web, attempt: Attempt, alice: User) -> None:
    jwt = str(await in_thread(AccessToken.for_user)(alice))
    api = await in_thread(token_of)(alice)
    path = path_of(attempt)
    async with web.socket(path, subprotocols=["loraforge", f"bearer.{jwt}"]) as socket:
        assert socket.subprotocol == "loraforge"
        assert (await read(socket))["type"] == "train_status"
    async with web.socket(path, token=api) as socket:
        assert (await read(socket))["type"] == "train_status"
    async with web.socket(path) as socket:
        await socket.send(auth_message(jwt))
        assert (await read(socket))["type"] == "train_status"


async def test_strangers(web: Web, attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "AUTH_WAIT_S", 0.05)
    path = path_of(attempt)
    assert await refused_with(web.socket(path, token="lfp_wrong")) == 401
    async with web.socket(path) as silent:
        assert await closed_with(silent) == 4401
    async with web.socket(path) as wrong:
        await wrong.send('{"type": "auth", "token": "lfp_wrong"}')
        assert await closed_with(wrong) == 4401
    for words in ("hello", '{"type": "auth", "token": "x", "more": ' + "[" * 60_000):
        async with web.socket(path) as noise:
            await noise.send(words)
            assert await closed_with(noise) == 4400


async def test_a_foreign_job_is_as_unknown_as_one_that_is_not_there(
    web: Web, attempt: Attempt
) -> None:
    bob = await in_thread(UserFactory.create)()
    token = await in_thread(token_of)(bob)
    foreign = await refused_with(web.socket(path_of(attempt), token=token))
    missing = await refused_with(web.socket("/ws/jobs/999999/", token=token))
    assert foreign == missing == 404
    jwt = str(await in_thread(AccessToken.for_user)(bob))
    async with web.socket(path_of(attempt)) as socket:
        await socket.send(auth_message(jwt))
        assert await closed_with(socket) == 4404
    assert await refused_with(web.socket("/ws/else/", token=token)) == 404


async def test_a_cursor_that_is_none_is_refused(web: Web, attempt: Attempt, alice: User) -> None:
    cookie = await in_thread(session_of)(alice)
    assert await refused_with(web.socket(path_of(attempt, "?log_after=x"), cookie=cookie)) == 400


async def test_a_page_of_another_site_is_refused(web: Web, attempt: Attempt, alice: User) -> None:
    cookie = await in_thread(session_of)(alice)
    another_port = "http://127.0.0.1:1"
    for origin in ("https://evil.example", another_port, "null"):
        connecting = web.socket(path_of(attempt), cookie=cookie, origin=origin)
        assert await refused_with(connecting) == 403
    async with web.socket(path_of(attempt), cookie=cookie, origin=web.url("")) as socket:
        assert (await read(socket))["type"] == "train_status"


async def test_ten_sockets_a_user(web: Web, alice: User) -> None:
    cookie = await in_thread(session_of)(alice)
    sockets = [await web.socket("/ws/nodes/", cookie=cookie) for _ in range(10)]
    assert await refused_with(web.socket("/ws/me/", cookie=cookie)) == 429
    await sockets.pop().close()
    await until(lambda: consumers._sockets[alice.pk] < 10)
    async with web.socket("/ws/nodes/", cookie=cookie) as socket:
        assert (await read(socket))["type"] == "gpu"
    for open_one in sockets:
        await open_one.close()
    await until(lambda: not consumers._sockets[alice.pk])


async def test_who_may_not_see_it_any_more_is_let_go(
    web: Web, attempt: Attempt, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SocketConsumer, "recheck_s", 0.1)
    cookie = await in_thread(session_of)(alice)
    async with web.socket(path_of(attempt), cookie=cookie) as socket:
        await read(socket)
        other = await in_thread(UserFactory.create)()
        await type(attempt.instance).objects.filter(pk=attempt.instance_id).aupdate(owner=other)
        assert await closed_with(socket) == 4404
    async with web.socket("/ws/me/", cookie=cookie) as socket:
        await User.objects.filter(pk=alice.pk).aupdate(is_active=False)
        assert await closed_with(socket) == 4401


async def test_a_reader_that_does_not_read_is_let_go_and_comes_back_with_its_cursor(
    web: Web, attempt: Attempt, alice: User, redis_client: "redis.Redis"
) -> None:
    """A slow browser costs 256 KiB, and neither itself nor a fast one a line."""
    cookie = await in_thread(session_of)(alice)
    data = b"".join(b"%08d %s\n" % (number, b"x" * 2_000) for number in range(8_000))
    slow = await web.socket(path_of(attempt), cookie=cookie, max_queue=1)
    assert (await read(slow))["type"] == "train_status"
    async with web.socket(path_of(attempt), cookie=cookie) as fast:
        await read(fast)
        # Two pieces fit its buffer: the first may wait there yet when SQL has already shown it.
        for piece in pieces_of(data, range(0, len(data), 100_000)):
            live.publish(redis_client, await store(attempt, piece.data, start=piece.start))
            await read_until(fast, lambda frame, end=piece.end: frame["to"] > end - 3_000)  # type: ignore[misc]
    lines: list[str] = []
    cursor = ""
    with suppress(ConnectionClosedError):
        async for raw in slow:
            frame = msgspec.json.decode(raw)
            lines += frame["lines"]
            cursor = f"{frame['attempt']}:{frame['to']}"
    assert slow.close_code == 4408
    assert len(lines) < 8_000
    async with web.socket(path_of(attempt, f"?log_after={cursor}"), cookie=cookie) as again:
        while len(lines) < 8_000:
            lines += (await read(again)).get("lines", [])
    assert [int(line[:8]) for line in lines] == list(range(8_000))


async def test_too_much_talk_is_cut_off(web: Web, alice: User) -> None:
    cookie = await in_thread(session_of)(alice)
    async with web.socket("/ws/me/", cookie=cookie) as loud:
        for _ in range(30):
            await loud.send("x")
        assert await closed_with(loud) == 1008
    async with web.socket("/ws/me/", cookie=cookie) as long:
        await long.send("x" * 70_000)
        assert await closed_with(long) == 1009


async def test_a_socket_is_closed_once_whatever_was_still_on_its_way() -> None:
    """A second close breaks the web server's protocol, and each left a trace in the log."""
    sent: list[dict[str, Any]] = []
    come: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    come.put_nowait({"type": "websocket.connect"})
    for _ in range(40):
        come.put_nowait({"type": "websocket.receive", "text": "x"})
    come.put_nowait({"type": "websocket.disconnect", "code": 1000})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    talk: Any = SocketConsumer.as_asgi()
    scope = {"type": "websocket", "path": "/ws/me/", "headers": [], "subprotocols": []}
    with suppress(StopConsumer):
        await asyncio.wait_for(talk(scope, come.get, send), WAIT_S)
    assert [one["type"] for one in sent] == ["websocket.accept", "websocket.close"]
    assert sent[1]["code"] == consumers.BAD_REQUEST


async def test_notices_reach_their_owner_only(
    web: Web, alice: User, redis_client: "redis.Redis"
) -> None:
    bob = await in_thread(UserFactory.create)()
    cookies = [await in_thread(session_of)(user) for user in (alice, bob)]
    async with (
        web.socket("/ws/me/", cookie=cookies[0]) as hers,
        web.socket("/ws/me/", cookie=cookies[1]) as his,
    ):
        both = [
            (live.topic_user(bob.pk), {"type": "notice", "id": 1}),
            (live.topic_user(alice.pk), {"type": "notice", "id": 2}),
        ]
        reads = [asyncio.ensure_future(read(hers)), asyncio.ensure_future(read(his))]
        # Live frames alone: what is published before the reader listens is seen by nobody.
        while not all(one.done() for one in reads):
            live.publish(redis_client, both)
            await asyncio.wait(reads, timeout=0.2)
        assert [one.result()["id"] for one in reads] == [2, 1]


async def test_server_sent_events_resume_at_the_last_event_id(
    web: Web, attempt: Attempt, alice: User, redis_client: "redis.Redis"
) -> None:
    token = await in_thread(token_of)(alice)
    await store(attempt, b"one\ntwo\n")
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "text/event-stream",
        "Last-Event-ID": "1:4,0",
    }
    url = web.url(f"/api/v1/jobs/{attempt.instance_id}/log/stream/")
    async with (
        httpx.AsyncClient(trust_env=False) as client,
        client.stream("GET", url, headers=headers) as answer,
    ):
        assert answer.headers["content-type"] == "text/event-stream"
        lines = answer.aiter_lines()
        events: list[str] = []
        while len(events) < 9:
            events.append(await asyncio.wait_for(anext(lines), WAIT_S))
            if "two" in events[-1]:
                live.publish(redis_client, await store(attempt, b"three\n", start=8))
    assert events[0] == "event: train_status"
    assert events[4:6] == ["event: log", "id: 1:8,0:0"]
    assert '"lines":["two"]' in events[6]
    assert events[8] == "event: log"


async def test_the_log_is_downloaded_byte_for_byte(web: Web, attempt: Attempt, alice: User) -> None:
    token = await in_thread(token_of)(alice)
    data = bytes(range(256)) * 5_000
    for piece in pieces_of(data, range(0, len(data), 100_000)):
        await store(attempt, piece.data, start=piece.start)
    url = web.url(f"/api/v1/jobs/{attempt.instance_id}/log/download/")
    async with httpx.AsyncClient(
        trust_env=False, headers={"Authorization": f"Bearer {token}"}
    ) as client:
        whole = await client.get(url)
        assert (whole.status_code, whole.content) == (200, data)
        part = await client.get(url, headers={"Range": "bytes=1000-1002"})
        assert (part.status_code, part.content) == (206, data[1000:1003])
        assert part.headers["content-range"] == f"bytes 1000-1002/{len(data)}"
        tail = await client.get(url, headers={"Range": "bytes=-5"})
        assert tail.content == data[-5:]
        beyond = await client.get(url, headers={"Range": f"bytes={len(data)}-"})
        assert beyond.status_code == 416
