"""Files of a node's jobs, through the node's file service (HTTP; one signed token for each file).

http.client, not httpx: measured over a local node it takes a fourth of the CPU for the same bytes,
because it reads a megabyte at a time instead of 64 KiB through a parser. One connection a file; the
bytes dwarf its set-up. Blocking on purpose: API views run in threads, and bodies are read in threads
of their own. Redirects are never followed, proxies of the environment never used: the node said where
it is when it joined.
"""

import http.client
import os
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlsplit

from django.utils.translation import gettext as _

from loraforge.core.errors import NotFound, Unavailable
from loraforge.nodelink.relay import READ_TIMEOUT_S, Relay
from loraforge.nodelink.tokens import file_token
from loraforge.nodes.models import Node

PIECE_BYTES = 1024**2
CONNECT_TIMEOUT_S = 3.0
_FORWARDED = frozenset({"range", "if-range", "if-none-match"})

_OK = 200
_PARTIAL = 206
_NOT_MODIFIED = 304
_MISSING = 404
_UNSATISFIABLE = 416


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

    def __init__(
        self, node: Node, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self._node = node
        self._connection = connection
        self._response = response
        self._left = self.length
        self._relay: Relay | None = None
        self.status = response.status

    def header(self, name: str) -> str:
        """A header of the node's answer; empty when it is not there."""
        return self._response.getheader(name, "") or ""

    @property
    def length(self) -> int | None:
        """How many bytes the body has; None when the node does not say."""
        text = self.header("content-length")
        return int(text) if text.isascii() and text.isdecimal() else None

    def read(self, size: int = PIECE_BYTES, /) -> bytes:
        """The next piece; b"" at the end. Raises Unavailable, also when the node ends too early."""
        try:
            piece = self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise _unreachable(self._node) from error
        if self._left is not None:
            self._left -= len(piece)
            if not piece and self._left > 0:
                raise _unreachable(self._node)
        return piece

    def pouring(self) -> "Relay | None":
        """The rest from socket to socket; None where Python must look at it (TLS, chunks, no splice)."""
        is_plain = not isinstance(self._connection, http.client.HTTPSConnection)
        if not is_plain or not self._left or not hasattr(os, "splice"):
            return None
        if self._relay is None:
            self._relay = Relay(self._response, self._left, lambda: _unreachable(self._node))
        return self._relay

    def close(self) -> None:
        """End the fetch and the connection to the node."""
        if self._relay is not None:
            self._relay.close()
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.close()


def is_plain_path(path: str) -> bool:
    """True for a relative path that can be asked for: without ``..`` and without control characters."""
    has_control = any(ord(letter) < 32 for letter in path)  # noqa: PLR2004
    return not has_control and all(part not in {"", ".", ".."} for part in path.split("/"))


def file_path(*, instance_id: int, attempt: int, path: str) -> str:
    """The file's address on its node, decoded. Raises NotFound for what is no plain relative path."""
    if not is_plain_path(path):
        raise _missing(path)
    return f"/jobs/{instance_id}/a{attempt}/{path}"


def _connect(node: Node) -> http.client.HTTPConnection:
    """A connection to the node's file service. Raises OSError, ValueError for a senseless address."""
    address = urlsplit(node.file_url)
    if address.scheme not in {"http", "https"} or not address.hostname:
        message = f"node {node.name} has no usable file address"
        raise ValueError(message)
    if address.scheme == "https":
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            address.hostname,
            address.port,
            timeout=CONNECT_TIMEOUT_S,
            context=ssl.create_default_context(),
        )
    else:
        connection = http.client.HTTPConnection(
            address.hostname, address.port, timeout=CONNECT_TIMEOUT_S
        )
    connection.connect()
    connection.sock.settimeout(READ_TIMEOUT_S)
    return connection


def _ask(
    node: Node, method: str, target: str, headers: Mapping[str, str]
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    """Send a request and read the head of its answer. Raises Unavailable."""
    try:
        connection = _connect(node)
    except (OSError, ValueError) as error:
        raise _unreachable(node) from error
    try:
        connection.request(method, target, headers=dict(headers))
        return connection, connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise _unreachable(node) from error


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
    # The node's tokens speak of GET for HEAD too: both give the same file away.
    token = file_token(node=node, method="GET", path=address, user=user)
    passed = {name: text for name, text in (headers or {}).items() if name.lower() in _FORWARDED}
    target = urlsplit(node.file_url).path.rstrip("/") + quote(address, safe="/")
    connection, response = _ask(
        node, method, target, {**passed, "Authorization": f"Bearer {token}"}
    )
    if response.status in {_OK, _PARTIAL, _NOT_MODIFIED, _UNSATISFIABLE}:
        return NodeFile(node, connection, response)
    connection.close()
    if response.status == _MISSING:
        raise _missing(path)
    raise _refused(node, response.status)


def file_peer(
    *, node: Node, instance_id: int, attempt: int, path: str, user: str
) -> tuple[str, str]:
    """The file's address at its node and a token for it, for another node to fetch it. Raises NotFound."""
    address = file_path(instance_id=instance_id, attempt=attempt, path=path)
    token = file_token(node=node, method="GET", path=address, user=user)
    return node.file_url.rstrip("/") + quote(address, safe="/"), token


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
