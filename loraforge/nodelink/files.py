"""Files of a node's jobs, through the node's file service (HTTP; one signed token for each file).

Blocking on purpose: API views run in threads, and bodies are read in threads of their own. Redirects
are never followed and the environment's proxies never used: the node said where it is when it joined.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

import httpx
from django.utils.translation import gettext as _

from loraforge.core.errors import NotFound, Unavailable
from loraforge.nodelink.tokens import file_token
from loraforge.nodes.models import Node

PIECE_BYTES = 1024**2
_TIMEOUT = httpx.Timeout(connect=3.0, read=20.0, write=5.0, pool=5.0)
_LIMITS = httpx.Limits(max_connections=128, max_keepalive_connections=16, keepalive_expiry=30)
_FORWARDED = frozenset({"range", "if-range", "if-none-match"})

_OK = 200
_PARTIAL = 206
_NOT_MODIFIED = 304
_MISSING = 404
_UNSATISFIABLE = 416


@cache
def _client() -> httpx.Client:
    """One pool of connections for this process; httpx.Client is safe to share between threads."""
    return httpx.Client(
        timeout=_TIMEOUT,
        limits=_LIMITS,
        follow_redirects=False,
        trust_env=False,
        headers={"Accept-Encoding": "identity"},
    )


def _unreachable(node: Node) -> Unavailable:
    return Unavailable(
        "nodelink:node_unreachable",
        _(
            "Node %(node)s does not answer, so its files cannot be fetched now. They are still there: "
            "try again once the node is online."
        )
        % {"node": node.name},
    )


def _refused(node: Node, status: int) -> Unavailable:
    return Unavailable(
        "nodelink:node_refused",
        _(
            "Node %(node)s refused to hand out the file (status %(status)s). Ask an operator whether the "
            "node's clock is right and whether it has joined with its present token."
        )
        % {"node": node.name, "status": status},
    )


def _missing(path: str) -> NotFound:
    return NotFound(
        "artifacts:not_found", _("There is no file %(path)s on the node.") % {"path": path}
    )


class NodeFile:
    """A file being fetched: status 200, 206, 304 or 416, the node's headers, and the body to read."""

    def __init__(self, node: Node, response: httpx.Response) -> None:
        self._node = node
        self._response = response
        self._pieces: Iterator[bytes] = response.iter_raw(PIECE_BYTES)
        self.status = response.status_code

    def header(self, name: str) -> str:
        """A header of the node's answer; empty when it is not there."""
        return str(self._response.headers.get(name, ""))

    @property
    def length(self) -> int | None:
        """How many bytes the body has; None when the node does not say."""
        text = self.header("content-length")
        return int(text) if text.isdecimal() else None

    def read(self, _size: int = PIECE_BYTES, /) -> bytes:
        """The next piece, PIECE_BYTES or the rest; b"" at the end. Raises Unavailable."""
        try:
            return next(self._pieces, b"")
        except httpx.TransportError as error:
            raise _unreachable(self._node) from error

    def close(self) -> None:
        """End the fetch; an unread body closes the connection to the node."""
        self._response.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def file_path(*, instance_id: int, attempt: int, path: str) -> str:
    """The file's address on its node, decoded. Raises NotFound for what is no plain relative path."""
    parts = path.split("/")
    is_plain = all(part not in {"", ".", ".."} for part in parts)
    if not is_plain or any(ord(letter) < 32 for letter in path):  # noqa: PLR2004 - control characters
        raise _missing(path)
    return f"/jobs/{instance_id}/a{attempt}/{path}"


def file_open(
    *,
    node: Node,
    instance_id: int,
    attempt: int,
    path: str,
    user: str,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
) -> NodeFile:
    """Begin to fetch a file; the caller closes it.

    path: relative to the job's folder. user: id for the node's log. headers: Range, If-Range and
    If-None-Match are passed on, nothing else. Raises NotFound, Unavailable (with the remedy).
    """
    address = file_path(instance_id=instance_id, attempt=attempt, path=path)
    scheme = urlsplit(node.file_url).scheme
    if scheme not in {"http", "https"}:
        raise _unreachable(node)
    # The node's tokens speak of GET for HEAD too: both give the same file away.
    token = file_token(node=node, method="GET", path=address, user=user)
    passed = {name: text for name, text in (headers or {}).items() if name.lower() in _FORWARDED}
    request = _client().build_request(
        method,
        node.file_url.rstrip("/") + quote(address, safe="/"),
        headers={**passed, "Authorization": f"Bearer {token}"},
    )
    try:
        response = _client().send(request, stream=True)
    except httpx.TransportError as error:
        raise _unreachable(node) from error
    if response.status_code in {_OK, _PARTIAL, _NOT_MODIFIED, _UNSATISFIABLE}:
        return NodeFile(node, response)
    response.close()
    if response.status_code == _MISSING:
        raise _missing(path)
    raise _refused(node, response.status_code)


def file_read(*, node: Node, instance_id: int, attempt: int, path: str, limit_bytes: int) -> bytes:
    """The first bytes of a file, for the platform's own use. Raises NotFound, Unavailable."""
    wanted = {"Range": f"bytes=0-{limit_bytes - 1}"}
    with file_open(
        node=node,
        instance_id=instance_id,
        attempt=attempt,
        path=path,
        user="platform",
        headers=wanted,
    ) as file:
        if file.status == _UNSATISFIABLE:
            return b""
        found = bytearray()
        while len(found) < limit_bytes and (piece := file.read()):
            found += piece
    return bytes(found[:limit_bytes])
