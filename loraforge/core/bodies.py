"""Bodies of requests have an end, for strangers too.

Django's handler writes a whole body into a temporary file before any view, and so any check of who sends it,
runs; without a limit whoever reaches the port fills the disk. Uploads do not come this way (`datasets.tus`).
"""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

import msgspec
from django.conf import settings
from django.utils.translation import gettext as _

from loraforge.core.api import error_body

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]


class BoundedBodies:
    """Answers 413 for a body larger than DATA_UPLOAD_MAX_MEMORY_SIZE, as soon as that is known."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        if _announced_bytes(scope) > limit:
            await _refuse(send)
            return
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            if taken > limit:
                return {"type": "http.disconnect"}
            taken += len(message.get("body", b""))
            if taken > limit:
                await _refuse(send)
                return {"type": "http.disconnect"}  # for the application its client is gone
            return message

        await self._application(scope, counted, send)


def _announced_bytes(scope: Any) -> int:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


async def _refuse(send: Send) -> None:
    text = _("This request is too large. Files are uploaded at %(address)s.")
    message = text % {"address": "/api/v1/uploads/"}
    body = msgspec.json.encode(error_body("api:too_large", message))
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # what else is sent of it is not read
    ]
    await send({"type": "http.response.start", "status": 413, "headers": headers})
    await send({"type": "http.response.body", "body": body})
