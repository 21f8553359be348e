"""The tus 1.0.0 server: a raw ASGI application beside Django, at /api/v1/uploads/.

Beside, because Django's handler takes in a whole body before any view runs. Bytes go from the socket
into the upload's file as they come; offset_bytes is what is durable. GET is not tus's: the list and
the state of uploads are Django's (`api.views`), so mount this where `is_tus` says so.

Bodies are written in threads of their own; nothing here blocks the event loop.
"""

import asyncio
import errno
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import msgspec
from channels.db import database_sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIRequest
from django.utils import translation
from django.utils.translation import gettext as _
from rest_framework.exceptions import APIException

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.api import exception_handler
from loraforge.core.errors import Conflict, LoraForgeError, NotFound
from loraforge.datasets import tus_protocol as protocol
from loraforge.datasets import uploads
from loraforge.datasets.checking import check_start
from loraforge.datasets.models import Upload
from loraforge.datasets.selectors import dataset_get, upload_get
from loraforge.datasets.signin import request_of_scope, user_of_request
from loraforge.datasets.spool import SpoolWriter
from loraforge.datasets.tus_protocol import Headers, TusError

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Scope = MutableMapping[str, Any]

PATH = "/api/v1/uploads/"
BATCH_BYTES = 2 * 1024**2
COMMIT_EVERY_BYTES = 64 * 1024**2
EXTEND_EVERY_S = 8
IDLE_S = 30  # a client that sends nothing for so long is gone, whatever its connection says

_ADDRESS = re.compile(r"/api/v1/uploads(?:/([0-9a-fA-F-]{32,36}))?/?")
_TUS_METHODS = frozenset({"OPTIONS", "POST", "HEAD", "PATCH", "DELETE"})

_log = logging.getLogger(__name__)
_writers = ThreadPoolExecutor(max_workers=16, thread_name_prefix="tus")


class Disconnected(Exception):
    """The client went away in the middle of a body."""


def method_of(scope: Scope) -> str:
    """The method that is meant: for clients that can only POST, X-HTTP-Method-Override says it."""
    given = Headers(scope["headers"]).get("x-http-method-override").upper()
    return given or str(scope["method"])


def is_tus(scope: Scope) -> bool:
    """True for what this application answers; everything else is Django's."""
    return (
        scope["type"] == "http"
        and _ADDRESS.fullmatch(scope["path"]) is not None
        and method_of(scope) in _TUS_METHODS
    )


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer one tus request."""
    exchange = Exchange(scope, receive, send)
    request = request_of_scope(scope, exchange.method)
    with translation.override(translation.get_language_from_request(request)):
        try:
            await exchange.answer(request)
        except Disconnected:
            _log.info("upload: client went away at %s", scope["path"])
        except (LoraForgeError, APIException) as error:
            await exchange.refuse(error)
        except OSError as error:
            if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
                raise
            await exchange.refuse(uploads.disk_full())


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.headers = Headers(scope["headers"])
        self.method = method_of(scope)
        self._path: str = scope["path"]
        self._receive = receive
        self._send = send

    async def answer(self, request: ASGIRequest) -> None:
        """Do what is asked. Raises LoraForgeError, APIException, Disconnected, OSError."""
        if self.method == "OPTIONS":
            await self._respond(204, _abilities())
            return
        upload_id = self._upload_id()
        handlers: dict[tuple[str, bool], Callable[[User, Any], Awaitable[None]]] = {
            ("POST", False): self._create,
            ("HEAD", True): self._head,
            ("PATCH", True): self._patch,
            ("DELETE", True): self._delete,
        }
        handler = handlers.get((self.method, upload_id is not None))
        if handler is None:
            message = _("This address does not know this method.")
            raise TusError(405, "api:method_not_allowed", message)
        protocol.check_version(self.headers)
        user = await _in_db(_uploader)(request)
        await handler(user, upload_id)

    def _upload_id(self) -> UUID | None:
        found = _ADDRESS.fullmatch(self._path)
        if found is None:
            raise NotFound("api:not_found", _("Not found."))
        try:
            return UUID(found[1]) if found[1] else None
        except ValueError as error:
            raise NotFound("api:not_found", _("Not found.")) from error

    async def _create(self, user: User, _nothing: None) -> None:
        if self.headers.get("upload-defer-length"):
            message = _("Say the size at once: Upload-Defer-Length is not supported.")
            raise TusError(400, "datasets:length_wanted", message)
        size_bytes = self.headers.number("upload-length")
        if size_bytes is None:
            raise TusError(400, "datasets:length_wanted", _("Send the header Upload-Length."))
        metadata = protocol.metadata_read(self.headers.get("upload-metadata"))
        has_body = bool(self.headers.number("content-length"))
        if has_body:
            protocol.check_content_type(self.headers)
        upload = await _in_db(_begin)(
            user=user,
            version_of=metadata.get("version_of", ""),
            filename=metadata.get("filename") or metadata.get("name", ""),
            size_bytes=size_bytes,
            sha256=metadata.get("sha256", "").lower(),
        )
        if has_body or not size_bytes:
            await self._store(upload)
        await self._respond(
            201,
            {
                "Location": f"{PATH}{upload.pk}/",
                "Upload-Offset": str(upload.offset_bytes),
                "Upload-Expires": protocol.expires_header(upload.expires_at),
            },
        )

    async def _head(self, user: User, upload_id: UUID) -> None:
        upload = await _in_db(upload_get)(user=user, upload_id=upload_id)
        await self._respond(
            200,
            {
                "Upload-Offset": str(upload.offset_bytes),
                "Upload-Length": str(upload.size_bytes),
                "Upload-Metadata": protocol.metadata_write(
                    {"filename": upload.filename, "sha256": upload.sha256}
                ),
                "Upload-Expires": protocol.expires_header(upload.expires_at),
            },
        )

    async def _patch(self, user: User, upload_id: UUID) -> None:
        protocol.check_content_type(self.headers)
        upload = await _in_db(upload_get)(user=user, upload_id=upload_id)
        offset = self.headers.number("upload-offset")
        if offset is None:
            raise TusError(400, "datasets:offset_wanted", _("Send the header Upload-Offset."))
        if upload.dataset_id is None:
            await self._store(upload, offset)
        elif offset != upload.offset_bytes:
            raise _offset_differs(upload.offset_bytes)
        await self._respond(
            204,
            {
                "Upload-Offset": str(upload.offset_bytes),
                "Upload-Expires": protocol.expires_header(upload.expires_at),
            },
        )

    async def _delete(self, user: User, upload_id: UUID) -> None:
        upload = await _in_db(upload_get)(user=user, upload_id=upload_id)
        await _in_db(uploads.upload_delete)(upload=upload)
        await self._respond(204, {})

    async def _store(self, upload: Upload, offset: int | None = None) -> None:
        """Take the body in under the upload's lock, and have a complete upload checked."""
        checksum = protocol.checksum_read(self.headers.get("upload-checksum"))
        length = self.headers.number("content-length")
        token = await _in_db(uploads.lock_take)(upload_id=upload.pk)
        try:
            await _in_db(upload.refresh_from_db)(fields=["offset_bytes"])
            if offset is not None and offset != upload.offset_bytes:
                raise _offset_differs(upload.offset_bytes)
            if length is not None and upload.offset_bytes + length > upload.size_bytes:
                raise uploads.body_too_long(upload)
            await Body(upload, token, checksum, self._receive).take()
        finally:
            await _in_db(uploads.lock_free)(upload_id=upload.pk, token=token)
            if upload.offset_bytes == upload.size_bytes:
                check_start(upload_id=upload.pk)

    async def refuse(self, error: LoraForgeError | APIException) -> None:
        """Answer with the one shape of an error; a HEAD has no body."""
        response = exception_handler(error, {})
        if response is None:
            raise error
        headers = {"Content-Type": "application/json"}
        if response.status_code == 401 and "WWW-Authenticate" not in response:  # noqa: PLR2004
            headers["WWW-Authenticate"] = "Bearer"
        if response.status_code == 412:  # noqa: PLR2004
            headers["Tus-Version"] = protocol.VERSION
        body = b"" if self.method == "HEAD" else msgspec.json.encode(response.data)
        await self._respond(response.status_code, headers, body)

    async def _respond(self, status: int, headers: dict[str, str], body: bytes = b"") -> None:
        everywhere = {
            "Tus-Resumable": protocol.VERSION,
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
        }
        if status != 204:  # noqa: PLR2004 - No Content has no length either
            everywhere["Content-Length"] = str(len(body))
        pairs = [
            (name.lower().encode("latin-1"), value.encode("latin-1"))
            for name, value in {**everywhere, **headers}.items()
        ]
        await self._send({"type": "http.response.start", "status": status, "headers": pairs})
        await self._send({"type": "http.response.body", "body": body})


class Body:
    """Takes one body into one upload; the caller holds the lock that `token` proves.

    Writing a batch and receiving the next one overlap. Without a checksum what is durable is
    committed every COMMIT_EVERY_BYTES and when the client goes away; with one, only a whole and
    sound body counts.
    """

    def __init__(
        self, upload: Upload, token: str, checksum: tuple[str, bytes] | None, receive: Receive
    ) -> None:
        self._upload = upload
        self._token = token
        self._algorithm, self._digest = checksum or ("", b"")
        self._receive = receive
        self._begin = upload.offset_bytes
        self._committed_at = time.monotonic()
        self._broken: Exception = Disconnected()

    async def take(self) -> None:
        """Raises TusError, TooLarge, Locked, Disconnected, OSError; upload.offset_bytes is kept true."""
        self._writer = await _in_thread(
            lambda: SpoolWriter(
                self._upload.pk, offset_bytes=self._begin, algorithm=self._algorithm
            )
        )
        try:
            is_whole = await self._pump()
            await self._settle(is_whole=is_whole)
        finally:
            await _in_thread(self._writer.close)

    async def _pump(self) -> bool:
        """Socket to file; False when the client went away first."""
        batch: list[bytes] = []
        size = 0
        received = self._begin
        writing: asyncio.Future[None] | None = None
        is_open = True
        is_whole = False
        while is_open:
            data, is_open, is_whole = await self._next()
            received += len(data)
            if received > self._upload.size_bytes:
                if writing is not None:
                    await writing
                raise uploads.body_too_long(self._upload)
            if data:
                batch.append(data)
                size += len(data)
            if batch and (size >= BATCH_BYTES or not is_open):
                if writing is not None:
                    await writing
                    await self._commit_now_and_then()
                writing = asyncio.ensure_future(_in_thread(self._writer.write, b"".join(batch)))
                batch, size = [], 0
        if writing is not None:
            await writing
        return is_whole

    async def _next(self) -> tuple[bytes, bool, bool]:
        """The next bytes, whether more follow, and whether the body ended as it should."""
        try:
            async with asyncio.timeout(IDLE_S):
                message = await self._receive()
        except TimeoutError:
            message_text = _("No bytes came for %(seconds)s seconds.") % {"seconds": IDLE_S}
            self._broken = TusError(408, "datasets:upload_idle", message_text)
            return b"", False, False
        if message["type"] == "http.disconnect":
            return b"", False, False
        has_more = bool(message.get("more_body"))
        return message.get("body", b""), has_more, not has_more

    async def _commit_now_and_then(self) -> None:
        now = time.monotonic()
        if (
            self._writer.offset_bytes - self._upload.offset_bytes >= COMMIT_EVERY_BYTES
            and not self._digest
        ):
            await self._commit()
        elif now - self._committed_at > EXTEND_EVERY_S:
            await _in_db(uploads.lock_extend)(upload_id=self._upload.pk, token=self._token)
        else:
            return
        self._committed_at = now

    async def _commit(self) -> None:
        """Make durable, then say so in SQL."""
        offset = await _in_thread(self._writer.sync)
        await _in_db(uploads.lock_extend)(
            upload_id=self._upload.pk, token=self._token, offset_bytes=offset
        )
        self._upload.offset_bytes = offset

    async def _settle(self, *, is_whole: bool) -> None:
        is_sound = is_whole and (not self._digest or self._writer.digest() == self._digest)
        if self._digest and not is_sound:
            await _in_thread(self._writer.rewind, self._begin)
        else:
            await self._commit()
        if not is_whole:
            raise self._broken
        if not is_sound:
            raise protocol.checksum_differs()


def _offset_differs(offset_bytes: int) -> Conflict:
    return Conflict(
        "datasets:offset_differs",
        _("%(count)s bytes have arrived. Continue from there.") % {"count": offset_bytes},
    )


def _begin(*, user: User, version_of: str, **given: Any) -> Upload:
    """Begin an upload; version_of: the number of the dataset whose next version it will be."""
    before = None
    if version_of:
        if not re.fullmatch(r"[1-9][0-9]{0,17}", version_of):
            message = _("version_of must be the number of a dataset.")
            raise TusError(400, "datasets:bad_version_of", message)
        before = dataset_get(user=user, dataset_id=int(version_of))
    return uploads.upload_create(actor=user, version_of=before, **given)


def _uploader(request: ASGIRequest) -> User:
    user = user_of_request(request)
    access.require(user, Action.CREATE)
    return user


def _abilities() -> dict[str, str]:
    return {
        "Tus-Version": protocol.VERSION,
        "Tus-Extension": protocol.EXTENSIONS,
        "Tus-Max-Size": str(settings.UPLOAD_MAX_BYTES),
        "Tus-Checksum-Algorithm": ",".join(protocol.ALGORITHMS),
    }


def _in_db(function: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
    """The function in a thread with a healthy database connection."""
    wrapped: Callable[..., Awaitable[Any]] = database_sync_to_async(
        function, thread_sensitive=False
    )
    return wrapped


async def _in_thread(function: Callable[..., Any], *args: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(_writers, function, *args)
