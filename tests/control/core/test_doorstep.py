"""What the web process decides before Django: how large a body may be, and which page a socket is from."""

import tempfile
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import yaml
from django.http import HttpRequest, HttpResponse
from django.test import override_settings
from django.urls import path
from django.views.decorators.csrf import csrf_exempt

from loraforge.asgi import application
from loraforge.core.origins import is_own_origin, origin_of
from loraforge.settings.env import BASE_DIR
from tests.control.webserver import served

pytestmark = pytest.mark.django_db(
    transaction=True
)  # Django looks after its connections at every request

LIMIT = 100_000


@csrf_exempt
def _echo(request: HttpRequest) -> HttpResponse:
    return HttpResponse(str(len(request.body)))


urlpatterns = [path("echo", _echo)]


@pytest.fixture
def url() -> Iterator[str]:
    with (
        override_settings(ROOT_URLCONF=__name__, DATA_UPLOAD_MAX_MEMORY_SIZE=LIMIT),
        served(application) as address,
    ):
        yield address


def _pieces(size: int) -> Iterator[bytes]:
    for begin in range(0, size, 10_000):
        yield b"x" * min(10_000, size - begin)


def test_a_body_up_to_the_limit_goes_through(url: str) -> None:
    assert httpx.post(f"{url}/echo", content=b"x" * LIMIT).text == str(LIMIT)
    assert httpx.post(f"{url}/echo", content=_pieces(LIMIT)).text == str(LIMIT)


def test_an_announced_body_is_refused_unread(url: str) -> None:
    with httpx.Client() as client:
        answer = client.post(f"{url}/echo", content=b"x" * (LIMIT + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["id"] == "api:too_large"


def test_a_body_without_end_is_cut_off(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunked, it says no length: nothing of it may pile up on the disk."""
    written: list[int] = []
    real = tempfile.SpooledTemporaryFile

    class Counting(real):  # type: ignore[misc, valid-type]
        def write(self, data: Any) -> int:
            written.append(len(data))
            return int(super().write(data))

    monkeypatch.setattr(tempfile, "SpooledTemporaryFile", Counting)
    try:
        status = httpx.post(f"{url}/echo", content=_pieces(200 * LIMIT), timeout=20).status_code
    except httpx.WriteError:
        status = 413  # the connection was closed while it went on sending
    assert status == 413
    assert sum(written) <= LIMIT


def _scope(host: str, origin: str) -> dict[str, Any]:
    headers = [(b"host", host.encode()), (b"origin", origin.encode())]
    return {"type": "websocket", "path": "/ws/me/", "headers": headers, "query_string": b""}


@pytest.mark.parametrize(
    ("origin", "is_own"),
    [
        ("http://localhost:8000", True),
        ("https://LOCALHOST:8000", True),
        (
            "http://localhost:8888",
            False,
        ),  # another server of this machine, perhaps a user's notebook
        ("http://localhost", False),
        ("http://127.0.0.1:8000", False),
        ("https://pages.example", True),
        ("http://pages.example", False),
        ("https://a.wide.example", True),
        ("https://wide.example.evil", False),
        ("https://evil.example", False),
        ("http://localhost:8000@evil.example", False),
        ("file://localhost:8000", False),
        ("null", False),
        ("http://[", False),
        ("", False),
    ],
)
@override_settings(CSRF_TRUSTED_ORIGINS=["https://pages.example", "https://*.wide.example"])
def test_whose_page_may_open_a_socket(origin: str, *, is_own: bool) -> None:
    scope = _scope("localhost:8000", origin)
    assert is_own_origin(scope, origin_of(scope) or "") is is_own


def test_a_host_that_is_not_ours_has_no_pages() -> None:
    scope = _scope("evil.example", "http://evil.example")
    assert not is_own_origin(scope, "http://evil.example")


def test_behind_the_proxy_callers_are_told_apart() -> None:
    """uvicorn believes its proxy who calls; that is safe only while nobody else reaches its port."""
    compose = yaml.safe_load((BASE_DIR / "docker-compose.yml").read_text())
    web = compose["services"]["web"]
    assert web["environment"]["FORWARDED_ALLOW_IPS"] == "*"
    assert "ports" not in web
