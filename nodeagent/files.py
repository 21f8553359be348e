"""The node's file service: files of jobs over HTTP, each with a token for exactly that path.

Nothing is buffered: the kernel moves the bytes when the reader has room for them (`nodeagent.sending`).
What a job wrote is always handed out as bytes to be saved, never as a page.
"""

import email.utils
import logging
import os
import re
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import quote

import anyio.to_thread
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from nodeagent.contract.filetokens import TokenError, token_verify
from nodeagent.sending import FileBody, with_outlet
from nodeagent.workspace import UnsafePath, Workspace

log = logging.getLogger(__name__)

# What a job leaves; its inputs and what shim and agent tell each other are nobody's to fetch.
_PATH = re.compile(
    r"/jobs/(\d{1,18})/a(\d{1,18})/(output/.+|console\.log|events\.jsonl)\Z", re.ASCII | re.DOTALL
)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})\Z", re.ASCII)


class Span(NamedTuple):
    """Bytes [start, end) of a file."""

    start: int
    end: int


class RangeError(ValueError):
    """No byte of the file lies in the range asked for."""


def range_parse(header: str, size: int) -> Span | None:
    """The one range of a Range header. None = send all (absent, several, or not understood: RFC 9110
    14.2 lets a server ignore those). Raises RangeError for 416.
    """
    match = _RANGE.match(header.strip())
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        length = min(int(match[2]), size)
        span = Span(size - length, size)
    else:
        if match[2] and int(match[2]) < int(match[1]):
            return None
        span = Span(int(match[1]), min(int(match[2]) + 1, size) if match[2] else size)
    if span.start >= size or span.start >= span.end:
        raise RangeError
    return span


class FileService:
    """`/jobs/{instance}/a{attempt}/{path}` for GET and HEAD; see the module's text.

    now: the clock by which tokens expire, seconds since 1970.
    """

    def __init__(
        self,
        *,
        workspace: Workspace,
        key: bytes,
        sock: socket.socket,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._workspace = workspace
        self._key = key
        self._sock = sock
        self.app = Starlette(
            routes=[Route("/jobs/{path:path}", self._serve, methods=["GET", "HEAD"])]
        )
        config = uvicorn.Config(
            with_outlet(self.app),
            http="h11",  # `nodeagent.sending` knows this one; a file is one request
            log_config=None,
            access_log=False,  # it would hold the tokens; `_serve` writes its own line without
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=2,
        )
        # uvicorn itself logs when whoever set up logging gave this logger a handler
        logging.getLogger("uvicorn.access").disabled = True
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="files", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(5)

    def _run(self) -> None:
        self._server.run(sockets=[self._sock])

    async def _serve(self, request: Request) -> Response:
        path = "/jobs/" + request.path_params["path"]
        try:
            user = token_verify(
                key=self._key,
                method="GET",
                path=path,
                token=_token_of(request),
                now=self._now(),
            )
        except TokenError as error:
            log.warning("%s %r refused: %s", request.method, path, error)
            return _plain(str(error), 403)
        try:
            descriptor = await anyio.to_thread.run_sync(self._open, path)
        except UnsafePath:
            log.warning("%s %r by %s: not a regular file", request.method, path, user)
            return _plain("not found", 404)
        except OSError:
            return _plain("not found", 404)
        answer = self._answer(request, descriptor)
        log.info("%s %r by %s: %d", request.method, path, user, answer.status_code)
        return answer

    def _open(self, path: str) -> int:
        match = _PATH.match(path)
        if match is None:
            raise FileNotFoundError(path)
        return self._workspace.job(int(match[1]), int(match[2])).open(match[3])

    def _answer(self, request: Request, descriptor: int) -> Response:
        known = os.fstat(descriptor)
        size = known.st_size
        etag = f'"{known.st_ino:x}-{size:x}-{known.st_mtime_ns:x}"'
        modified = email.utils.formatdate(known.st_mtime, usegmt=True)
        headers = {
            "Content-Type": "application/octet-stream",
            "X-Content-Type-Options": "nosniff",
            "Content-Disposition": "attachment; filename*=UTF-8''"
            + quote(request.path_params["path"].rpartition("/")[2], safe=""),
            "Cache-Control": "private, no-cache",
            "Accept-Ranges": "bytes",
            "ETag": etag,
            "Last-Modified": modified,
        }
        if request.headers.get("if-none-match") == etag:
            os.close(descriptor)
            return Response(status_code=304, headers=headers)
        asked = request.headers.get("range", "")
        if request.headers.get("if-range", etag) not in {etag, modified}:
            asked = ""
        try:
            span = range_parse(asked, size)
        except RangeError:
            os.close(descriptor)
            return Response(
                status_code=416, headers={**headers, "Content-Range": f"bytes */{size}"}
            )
        status = 200 if span is None else 206
        if span is not None:
            headers["Content-Range"] = f"bytes {span.start}-{span.end - 1}/{size}"
        span = span or Span(0, size)
        headers["Content-Length"] = str(span.end - span.start)
        if request.method == "HEAD":
            os.close(descriptor)
            return Response(status_code=status, headers=headers)
        return FileBody(descriptor, span.start, span.end, status_code=status, headers=headers)


def _token_of(request: Request) -> str:
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    return bearer if scheme.lower() == "bearer" else request.query_params.get("token", "")


def _plain(text: str, status: int) -> Response:
    return PlainTextResponse(
        text, status_code=status, headers={"X-Content-Type-Options": "nosniff"}
    )
