"""Built files of the pages, straight from the event loop.

They are small and compressed already; on their way through middleware and threads a page's dozen of them
took longer than the page. What is found, and with which headers, WhiteNoise decides.
"""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from whitenoise.middleware import WhiteNoiseMiddleware

CHUNK_BYTES = 256 * 1024
_ASKED = {
    b"accept-encoding": "HTTP_ACCEPT_ENCODING",
    b"if-modified-since": "HTTP_IF_MODIFIED_SINCE",
    b"if-none-match": "HTTP_IF_NONE_MATCH",
    b"range": "HTTP_RANGE",
}


def _unused(_request: HttpRequest) -> HttpResponse:
    return HttpResponse(status=404)


class StaticFiles:
    """Answers what lies in STATIC_ROOT; with DEBUG, where files change, it leaves all to Django."""

    def __init__(self) -> None:
        self._files: dict[str, Any] = {}
        # Behind TLS it is Django that redirects plain HTTP.
        is_left = settings.DEBUG or settings.SECURE_SSL_REDIRECT
        if not is_left and Path(settings.STATIC_ROOT).is_dir():
            self._files = WhiteNoiseMiddleware(_unused).files

    async def answer(self, scope: Any, send: Any) -> bool:
        """False when it is none of these files."""
        file = self._files.get(scope["path"])
        if file is None:
            return False
        asked = {
            _ASKED[name]: value.decode("latin-1")
            for name, value in scope["headers"]
            if name in _ASKED
        }
        found = file.get_response(scope["method"], asked)
        headers = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in found.headers
        ]
        headers.append((b"x-content-type-options", b"nosniff"))
        start = {"type": "http.response.start", "status": int(found.status), "headers": headers}
        await send(start)
        if found.file is not None:
            with found.file as body:
                while chunk := body.read(CHUNK_BYTES):
                    part = {"type": "http.response.body", "body": chunk, "more_body": True}
                    await send(part)
        await send({"type": "http.response.body", "body": b""})
        return True
