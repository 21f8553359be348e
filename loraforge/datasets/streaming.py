"""Large bodies to the browser, piece by piece: Django's FileResponse under ASGI would load them whole.

Reading happens in threads of their own, one piece ahead of what is being sent; where source and client are
both sockets or files of the system, the kernel moves the bytes and Python only counts them (`core.outlet`).
"""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.utils.http import content_disposition_header
from rest_framework.request import Request

from loraforge.core.errors import BodyBroken, LoraForgeError
from loraforge.core.outlet import Outlet, Pour

PIECE_BYTES = 1024**2
_SENDFILE_BYTES = 8 * 1024**2
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})", re.ASCII)
_readers = ThreadPoolExecutor(max_workers=64, thread_name_prefix="stream")


class Source(Protocol):
    """What a body is read from; `read` blocks and gives b"" at the end."""

    def read(self, size: int, /) -> bytes: ...

    def close(self) -> None: ...


class Streamed:
    """The pieces of a body; closes its source when it ends, fails, or the client goes away."""

    def __init__(self, source: Source, *, length: int | None = None) -> None:
        """length: how many bytes to send; None = until the source ends."""
        self._source = source
        self._left = length
        self._reading: Future[Any] | None = None
        # set by the handler once it knows the client's socket
        self.outlet: Outlet | None = None

    def _next(self) -> "Future[bytes]":
        size = PIECE_BYTES if self._left is None else min(PIECE_BYTES, self._left)
        return self._submit(self._source.read, size)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            await self._pour()
            while self._left is None or self._left > 0:
                try:
                    piece = await asyncio.wrap_future(self._reading or self._next())
                except (LoraForgeError, OSError) as error:
                    self._reading = None
                    raise BodyBroken(str(error)) from error
                self._reading = None
                if not piece and self._left is None:
                    break
                if not piece:
                    raise BodyBroken("the source ended before the announced length")
                if self._left is not None:
                    self._left -= len(piece)
                if self._left is None or self._left > 0:
                    self._next()
                yield piece
        finally:
            self.close()

    async def _pour(self) -> None:
        """All of it at once where that can be; then `__aiter__` has no piece left to give."""
        pour = pouring(self._source) if self.outlet is not None and self._left else None
        if pour is None or self.outlet is None or self._left is None:
            return
        length, self._left = self._left, 0
        try:
            await self.outlet.pour(pour, length, submit=self._submit)
        except (LoraForgeError, OSError) as error:
            raise BodyBroken(str(error)) from error

    def _submit(self, work: Callable[..., Any], *args: Any) -> "Future[Any]":
        self._reading = _readers.submit(work, *args)
        return self._reading

    def close(self) -> None:
        """Close the source, after the read that may be going on in a thread."""
        if self._reading is not None:
            self._reading.add_done_callback(lambda _done: self._source.close())
        else:
            self._source.close()


class FileAnswer(StreamingHttpResponse):
    """A body of a length that is known, which the handler may send by `core.outlet`."""

    def __init__(self, body: Streamed, *, status: int = 200) -> None:
        super().__init__(body, status=status, content_type="application/octet-stream")
        self.poured = body


def pouring(source: Source) -> Pour | None:
    """How the kernel moves what is left of a source; None = it cannot, so it must be read.

    A source of others says so itself, by its method `pouring`; else it must be a file of the system.
    """
    of_its_own = getattr(source, "pouring", None)
    if of_its_own is not None:
        found: Pour | None = of_its_own()
        return found
    try:
        descriptor = source.fileno()  # type: ignore[attr-defined]
        position = source.tell()  # type: ignore[attr-defined]
    except (AttributeError, OSError):
        return None  # a storage elsewhere

    def pour(target: int, size: int, /) -> int:
        nonlocal position
        count = os.sendfile(target, descriptor, position, min(size, _SENDFILE_BYTES))
        position += count
        return count

    return pour


@dataclass(frozen=True)
class ByteRange:
    """Bytes [start, end) of size."""

    start: int
    end: int
    size: int

    @property
    def length(self) -> int:
        return self.end - self.start

    @property
    def content_range(self) -> str:
        return f"bytes {self.start}-{self.end - 1}/{self.size}"


class Unsatisfiable(ValueError):
    """The range begins behind the end (416)."""


def range_parse(header: str, size: int) -> ByteRange | None:
    """One byte range (RFC 9110 section 14); None = send the whole, also for several ranges.

    Raises Unsatisfiable.
    """
    found = _RANGE.fullmatch(header.strip())
    if found is None or not (found[1] or found[2]):
        return None
    if not found[1]:
        start, end = max(0, size - int(found[2])), size
    else:
        start = int(found[1])
        end = min(size, int(found[2]) + 1) if found[2] else size
        if found[2] and int(found[2]) < start:
            return None
    if start >= size or end <= start:
        raise Unsatisfiable
    return ByteRange(start=start, end=end, size=size)


def range_wanted(request: HttpRequest | Request, etag: str) -> str:
    """The Range header, unless If-Range names another version of the file."""
    if_range = request.headers.get("If-Range", "")
    if if_range and if_range != etag:
        return ""
    return request.headers.get("Range", "")


def is_known(request: HttpRequest | Request, etag: str) -> bool:
    """True when the client already has this version (If-None-Match, RFC 9110 section 13.1.2)."""
    known = request.headers.get("If-None-Match", "")
    names = {name.strip().removeprefix("W/") for name in known.split(",")}
    return bool(known) and ("*" in names or etag in names)


def file_headers(response: HttpResponseBase, *, etag: str, filename: str) -> None:
    """What every file answer says: never shown inline, never guessed, resumable."""
    response["ETag"] = etag
    response["Accept-Ranges"] = "bytes"
    response["Cache-Control"] = "private, no-cache, no-transform"
    response["X-Content-Type-Options"] = "nosniff"
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["Content-Disposition"] = content_disposition_header(True, filename) or "attachment"  # noqa: FBT003


def file_response(
    request: HttpRequest | Request, source: Source, *, size: int, etag: str, filename: str
) -> HttpResponseBase:
    """Answer GET and HEAD with (a range of) a file that can seek; takes the source over.

    source must have ``seek``. 200, 206, 304 or 416.
    """
    response: HttpResponseBase
    try:
        part = range_parse(range_wanted(request, etag), size)
    except Unsatisfiable:
        response = HttpResponse(status=416)
        response["Content-Range"] = f"bytes */{size}"
    else:
        if is_known(request, etag):
            response = HttpResponse(status=304)
        elif request.method == "HEAD":
            response = HttpResponse(content_type="application/octet-stream")
            response["Content-Length"] = str(size)
        else:
            response = _body(source, part or ByteRange(start=0, end=size, size=size))
            if part is not None:
                response.status_code = 206
                response["Content-Range"] = part.content_range
    if not response.streaming:
        source.close()
    file_headers(response, etag=etag, filename=filename)
    return response


def _body(source: Source, part: ByteRange) -> StreamingHttpResponse:
    source.seek(part.start)  # type: ignore[attr-defined]
    response = FileAnswer(Streamed(source, length=part.length))
    response["Content-Length"] = str(part.length)
    return response
