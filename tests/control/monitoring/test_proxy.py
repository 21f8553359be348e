"""Flower's address: who gets through, what travels which way."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.test import Client

from loraforge.accounts.models import User
from loraforge.asgi import application
from loraforge.monitoring.views import BODY_MAX_BYTES
from tests.control.webserver import served
from tests.factories.accounts import UserFactory

pytestmark = pytest.mark.django_db(transaction=True)


class Upstream:
    """Stands where Flower would, and remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while True:
            message = await receive()
            body += message["body"]
            if not message.get("more_body"):
                break
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        path, query = scope["raw_path"].decode(), scope["query_string"].decode()
        asked = {"method": scope["method"], "path": path, "query": query, "body": body}
        self.asked.append({**asked, "headers": headers})
        given = {
            "content-type": "text/html",
            "set-cookie": "_xsrf=1; Path=/",
            "access-control-allow-origin": "*",
            "www-authenticate": "Basic",
            "etag": '"1"',
            "content-security-policy": "script-src *",
        }
        pairs = [(name.encode(), value.encode()) for name, value in given.items()]
        await send({"type": "http.response.start", "status": 200, "headers": pairs})
        await send({"type": "http.response.body", "body": b"<p>flower</p>"})


@pytest.fixture
def upstream(settings: Any) -> Iterator[Upstream]:
    flower = Upstream()
    with served(flower) as url:
        settings.FLOWER_URL = url
        yield flower


@pytest.fixture
def web() -> Iterator[str]:
    with served(application) as url:
        yield url


def browser_of(web: str, person: User | None) -> httpx.Client:
    client = httpx.Client(base_url=web, trust_env=False, timeout=30)
    if person is not None:
        django = Client()
        django.force_login(person)
        client.cookies.set("sessionid", django.cookies["sessionid"].value)
    return client


def test_only_operators_get_through(upstream: Upstream, web: str) -> None:
    strange = browser_of(web, None).get("/flower/tasks?x=1")
    assert strange.status_code == 302
    assert strange.headers["location"] == "/login/?next=/flower/tasks%3Fx%3D1"
    for person in (UserFactory.create(), UserFactory.create(viewer=True)):
        assert browser_of(web, person).get("/flower/").status_code == 403
    assert upstream.asked == []
    for person in (UserFactory.create(operator=True), UserFactory.create(admin=True)):
        answer = browser_of(web, person).get("/flower/")
        assert (answer.status_code, answer.text) == (200, "<p>flower</p>")


def test_no_credential_goes_up_and_no_foreign_header_comes_down(
    upstream: Upstream, web: str
) -> None:
    browser = browser_of(web, UserFactory.create(operator=True))
    headers = {"Authorization": "Basic eDp5", "X-Forwarded-For": "1.2.3.4", "Accept": "text/html"}
    answer = browser.get("/flower/worker/agent@n%201?limit=5&x=%2F", headers=headers)
    (asked,) = upstream.asked
    assert (asked["path"], asked["query"]) == ("/flower/worker/agent%40n%201", "limit=5&x=%2F")
    assert asked["headers"]["accept"] == "text/html"
    assert set(asked["headers"]) <= {
        "host",
        "accept",
        "accept-encoding",
        "connection",
        "user-agent",
    }
    assert answer.headers["etag"] == '"1"'
    for name in ("set-cookie", "access-control-allow-origin", "www-authenticate"):
        assert name not in answer.headers
    policy = answer.headers["content-security-policy"]
    assert "script-src *" not in policy
    assert "default-src 'none'" in policy
    script = next(part for part in policy.split("; ") if part.startswith("script-src"))
    assert "unsafe" not in script


def test_the_list_of_tasks_is_read_by_post_from_our_own_pages(upstream: Upstream, web: str) -> None:
    browser = browser_of(web, UserFactory.create(operator=True))
    target = "/flower/tasks/datatable"
    for origin in ({}, {"Origin": "https://evil.example"}, {"Origin": "null"}):
        assert browser.post(target, data={"draw": "1"}, headers=origin).status_code == 403
    assert upstream.asked == []
    answer = browser.post(target, data={"draw": "1"}, headers={"Origin": web})
    assert answer.status_code == 200
    assert upstream.asked[0]["body"] == b"draw=1"
    assert upstream.asked[0]["headers"]["content-type"] == "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    "path", ["api/task/send-task/x", "api/worker/shutdown/control@x", "tasks%2Fdatatable/x", ""]
)
def test_nothing_else_is_posted(path: str, upstream: Upstream, web: str) -> None:
    browser = browser_of(web, UserFactory.create(admin=True))
    answer = browser.post(f"/flower/{path}", headers={"Origin": web})
    assert answer.status_code == 403
    assert browser.put(f"/flower/{path}", headers={"Origin": web}).status_code == 405
    assert upstream.asked == []


def test_a_large_body_is_refused(upstream: Upstream, web: str) -> None:
    browser = browser_of(web, UserFactory.create(operator=True))

    def pieces() -> Iterator[bytes]:
        yield b"x" * BODY_MAX_BYTES
        yield b"x"

    for content in (b"x" * (BODY_MAX_BYTES + 1), pieces()):
        answer = browser.post("/flower/tasks/datatable", content=content, headers={"Origin": web})
        assert answer.status_code == 400
    assert upstream.asked == []


@pytest.mark.parametrize("url", ["unix://{folder}/none.sock", "http://127.0.0.1:9"])
def test_without_flower_it_says_so(url: str, tmp_path: Path, settings: Any, web: str) -> None:
    settings.FLOWER_URL = url.format(folder=tmp_path)
    answer = browser_of(web, UserFactory.create(operator=True)).get("/flower/")
    assert answer.status_code == 503
    assert "Flower does not answer" in answer.text


def test_a_password_in_its_address_is_used(upstream: Upstream, web: str, settings: Any) -> None:
    settings.FLOWER_URL = settings.FLOWER_URL.replace("http://", "http://web:secret@")
    assert browser_of(web, UserFactory.create(operator=True)).get("/flower/").status_code == 200
    assert upstream.asked[0]["headers"]["authorization"].startswith("Basic ")
