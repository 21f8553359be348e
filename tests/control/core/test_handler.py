"""The way of a request through the web process, and the built files beside it."""

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.conf import LazySettings
from django.core.signals import request_finished, request_started
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path

from loraforge.core.errors import Unavailable
from loraforge.core.handler import THREADS, ThreadHandler
from loraforge.core.staticfiles import StaticFiles
from loraforge.datasets.streaming import Streamed

TEXT = b"body{color:red}" * 100


def _sync(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


async def _async(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(threading.current_thread().name)


def _stream(_request: HttpRequest) -> StreamingHttpResponse:
    async def parts() -> AsyncIterator[bytes]:
        yield b"a"
        yield b"b"

    return StreamingHttpResponse(parts())


class _Breaks:
    """A file whose node goes away in the middle."""

    def __init__(self) -> None:
        self.pieces = [b"begun"]

    def read(self, _size: int, /) -> bytes:
        if not self.pieces:
            raise Unavailable("nodelink:node_unreachable", "gone")
        return self.pieces.pop()

    def close(self) -> None:
        pass


def _broken(_request: HttpRequest) -> StreamingHttpResponse:
    return StreamingHttpResponse(Streamed(_Breaks()))


urlpatterns = [
    path("sync", _sync),
    path("async", _async),
    path("stream", _stream),
    path("broken", _broken),
]


async def _get(application: Any, address: str, **headers: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=application)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        return await client.get(address, headers=headers)


def _names(application: Any) -> Any:
    return [_get(application, "/sync") for _request in range(5)]


@pytest.mark.django_db  # the end of a request looks after this thread's connections
@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
async def test_requests_share_few_threads_and_asynchronous_views_stay_on_the_loop() -> None:
    handler = ThreadHandler()
    names = {(await one).text for one in _names(handler)}
    assert len(names) == 1, "one after the other need one thread"
    assert all(name.startswith("request") for name in names)
    assert (await _get(handler, "/async")).text == threading.current_thread().name
    assert handler._threads._max_workers == THREADS


@pytest.mark.django_db
@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
@pytest.mark.parametrize("address", ["/sync", "/stream"])
async def test_a_request_begins_and_ends_once_and_in_threads_of_requests(address: str) -> None:
    seen: list[tuple[str, str]] = []

    def begun(**_kwargs: Any) -> None:
        seen.append(("begun", threading.current_thread().name))

    def ended(**_kwargs: Any) -> None:
        seen.append(("ended", threading.current_thread().name))

    request_started.connect(begun)
    request_finished.connect(ended)
    try:
        answer = await _get(ThreadHandler(), address)
    finally:
        request_started.disconnect(begun)
        request_finished.disconnect(ended)
    assert answer.status_code == 200
    assert [what for what, _thread in seen] == ["begun", "ended"]
    assert all(thread.startswith("request") for _what, thread in seen)


@pytest.mark.django_db
@override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])
async def test_an_answer_that_breaks_off_is_one_line_of_the_log_and_has_no_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    asked: list[Any] = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        return asked.pop() if asked else await asyncio.Event().wait()  # the reader stays

    scope = {"type": "http", "method": "GET", "path": "/broken", "query_string": b"", "headers": []}
    await ThreadHandler()(scope, receive, send)
    assert [one.get("body") for one in sent] == [None, b"begun"]
    assert sent[-1]["more_body"]
    (said,) = [one for one in caplog.records if one.name == "loraforge.core.handler"]
    assert (said.levelname, said.exc_info) == ("WARNING", None)


@pytest.fixture
def files(tmp_path: Path, settings: LazySettings) -> StaticFiles:
    (tmp_path / "a.css").write_bytes(TEXT)
    (tmp_path / "a.css.gz").write_bytes(gzip.compress(TEXT))
    settings.STATIC_ROOT = tmp_path
    return StaticFiles()


def _application(files: StaticFiles) -> Any:
    async def application(scope: Any, _receive: Any, send: Any) -> None:
        if not await files.answer(scope, send):
            await send({"type": "http.response.start", "status": 418, "headers": []})
            await send({"type": "http.response.body", "body": b""})

    return application


async def test_a_built_file_comes_packed_when_the_browser_takes_that(files: StaticFiles) -> None:
    plain = await _get(_application(files), "/static/a.css", **{"Accept-Encoding": "identity"})
    assert (plain.status_code, plain.content) == (200, TEXT)
    assert plain.headers["X-Content-Type-Options"] == "nosniff"
    assert plain.headers["Content-Type"].startswith("text/css")
    packed = await _get(_application(files), "/static/a.css", **{"Accept-Encoding": "gzip"})
    assert packed.headers["Content-Encoding"] == "gzip"
    assert packed.content == TEXT
    length = await _get(
        _application(files),
        "/static/a.css",
        **{"Range": "bytes=0-3", "Accept-Encoding": "identity"},
    )
    assert (length.status_code, length.content) == (206, TEXT[:4])


async def test_a_known_file_is_not_sent_again(files: StaticFiles) -> None:
    first = await _get(_application(files), "/static/a.css")
    again = await _get(
        _application(files), "/static/a.css", **{"If-None-Match": first.headers["ETag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("address", ["/static/../secret_key", "/static/b.css", "/", "/jobs/"])
async def test_everything_else_is_left_to_django(files: StaticFiles, address: str) -> None:
    assert (await _get(_application(files), address)).status_code == 418
