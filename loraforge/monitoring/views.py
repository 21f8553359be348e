"""Flower behind our sign-in: operators only, passed through piece by piece.

Flower itself asks nobody and listens where only this process reaches it. Neither cookies nor
credentials go to it, and of its answers' headers only those named here come back.
"""

import base64
import hashlib
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote, urlsplit

import httpx
from django.conf import settings
from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt
from django.views.generic import View

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.core.errors import Denied, Invalid, Unavailable

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 15.0  # a worker page waits for its worker
BODY_MAX_BYTES = 64 * 1024
ASKED = ("accept", "if-modified-since", "if-none-match", "range", "x-requested-with")
ANSWERED = (
    *("content-type", "content-length", "content-range", "accept-ranges"),
    *("cache-control", "etag", "last-modified", "expires", "location"),
)
# The list of tasks is read by POST; nothing else of Flower is.
READ_BY_POST = frozenset({"tasks/datatable"})

# The one inline script of Flower's pages (templates/workers.html of Flower 2.2, as Tornado writes it).
# Its tables set widths by style attributes.
INLINE_SCRIPT = "\nvar autorefresh = 1;\n"
_DIGEST = base64.b64encode(hashlib.sha256(INLINE_SCRIPT.encode()).digest()).decode()
POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src 'self' 'sha256-{_DIGEST}'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)


class AdminSignIn(View):
    """The admin's sign-in is everybody's; who is signed in and sent here lacks the role."""

    def get(self, request: HttpRequest) -> HttpResponseBase:
        if request.user.is_authenticated:
            raise Denied("auth:denied", _("Your role does not allow this. Ask an operator."))
        return redirect_to_login(request.GET.get("next") or reverse("admin:index"))


@method_decorator(csrf_exempt, name="dispatch")  # Flower has no form of ours; `_same_origin` asks
class FlowerPage(View):
    """Everything below /flower/. Raises Denied (not an operator, or asked from elsewhere), Unavailable."""

    http_method_names = ["get", "head", "post"]

    async def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """Strangers sign in, people without the role are refused, before anything is asked of Flower."""
        user = await request.auser()
        if not user.is_authenticated:
            return redirect_to_login(request.get_full_path())
        access.require(user, Action.OPERATE)
        answer: HttpResponseBase = await super().dispatch(request, *args, **kwargs)  # type: ignore[misc]
        return answer

    async def get(self, request: HttpRequest, path: str = "") -> HttpResponseBase:
        return await _passed(request, path)

    async def head(self, request: HttpRequest, path: str = "") -> HttpResponseBase:
        return await _passed(request, path)

    async def post(self, request: HttpRequest, path: str = "") -> HttpResponseBase:
        _same_origin(request)
        if path not in READ_BY_POST:
            raise Denied(
                "monitoring:read_only", _("Flower only shows here; nothing is changed in it.")
            )
        return await _passed(request, path, body=_body(request))


def _same_origin(request: HttpRequest) -> None:
    """Every browser names the origin of a POST; a page of another site is refused."""
    origin = request.headers.get("origin", "")
    own = f"{request.scheme}://{request.get_host()}"
    if origin != own and origin not in settings.CSRF_TRUSTED_ORIGINS:
        raise Denied(
            "auth:csrf",
            _("This form is too old or came from elsewhere. Reload the page and try again."),
        )


def _body(request: HttpRequest) -> bytes:
    length = int(request.META.get("CONTENT_LENGTH") or 0)
    body = b"" if length > BODY_MAX_BYTES else request.read(BODY_MAX_BYTES + 1)
    if max(length, len(body)) > BODY_MAX_BYTES:
        raise Invalid("monitoring:too_large", _("This request is too large."))
    return body


def _client() -> httpx.AsyncClient:
    """One for each request: it belongs to the event loop that it was made in."""
    url = str(settings.FLOWER_URL)
    timeout = httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S)
    if urlsplit(url).scheme != "unix":
        return httpx.AsyncClient(base_url=url, timeout=timeout, trust_env=False)
    transport = httpx.AsyncHTTPTransport(uds=urlsplit(url).path)
    return httpx.AsyncClient(base_url="http://flower", timeout=timeout, transport=transport)


async def _passed(
    request: HttpRequest, path: str, *, body: bytes | None = None
) -> HttpResponseBase:
    """Ask Flower the same; the answer's body comes through in pieces. Raises Unavailable."""
    client = _client()
    query = request.META.get("QUERY_STRING", "")
    address = f"/flower/{quote(path)}" + (f"?{query}" if query else "")
    headers = {name: request.headers[name] for name in ASKED if name in request.headers}
    headers["accept-encoding"] = "identity"
    if body is not None:
        headers["content-type"] = request.headers.get("content-type", "")
    asked = client.build_request(request.method or "GET", address, headers=headers, content=body)
    try:
        answer = await client.send(asked, stream=True)
    except httpx.HTTPError as error:
        await client.aclose()
        raise Unavailable(
            "monitoring:flower_down",
            _("Flower does not answer. It may be starting; try again in a moment."),
        ) from error
    return _given_back(client, answer)


def _given_back(client: httpx.AsyncClient, answer: httpx.Response) -> HttpResponseBase:
    response = StreamingHttpResponse(_pieces(client, answer), status=answer.status_code)
    del response["Content-Type"]
    for name in ANSWERED:
        if name in answer.headers:
            response[name] = answer.headers[name]
    response["Content-Security-Policy"] = POLICY
    return response


async def _pieces(client: httpx.AsyncClient, answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for piece in answer.aiter_raw():
            yield piece
    finally:
        await answer.aclose()
        await client.aclose()
