"""Output files on their way from a node to a browser: streamed, never buffered."""

import logging
from collections.abc import Iterable, Iterator
from itertools import count
from typing import TYPE_CHECKING

from django.core.files.storage import default_storage
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request
from zipstream import ZIP_STORED, ZipStream

from loraforge.artifacts.leases import Leased, lease_take
from loraforge.artifacts.models import OutputFile, ResultCopy
from loraforge.artifacts.selectors import Located
from loraforge.core.errors import Gone
from loraforge.datasets.streaming import (
    FileAnswer,
    Streamed,
    Unsatisfiable,
    file_headers,
    file_response,
    is_known,
    range_parse,
    range_wanted,
)
from loraforge.instances.models import Attempt
from loraforge.nodelink.files import PIECE_BYTES, NodeFile, file_open
from nodeagent.contract import paths

if TYPE_CHECKING:
    from django.core.files import File

_PASSED_ON = ("Content-Length", "Content-Range", "Last-Modified")
_PARTIAL = 206
_UNSATISFIABLE = 416
_UNSAFE = str.maketrans({"\\": "_", ":": "_"})

_log = logging.getLogger(__name__)


def _headers_for_node(request: HttpRequest | Request, located: Located) -> dict[str, str]:
    """A file of a manifest has its SHA-256 as ETag and conditions are judged here; else by the node."""
    if located.listed is None:
        names = ("Range", "If-Range", "If-None-Match")
        return {name: request.headers[name] for name in names if name in request.headers}
    wanted = range_wanted(request, f'"{located.listed.sha256}"')
    return {"Range": wanted} if wanted else {}


def _early_answer(request: HttpRequest | Request, listed: OutputFile) -> HttpResponse | None:
    """304 or 416 where the manifest alone can say so, so that the node need not be asked."""
    etag = f'"{listed.sha256}"'
    if is_known(request, etag):
        return HttpResponse(status=304)
    try:
        range_parse(range_wanted(request, etag), listed.size_bytes)
    except Unsatisfiable:
        response = HttpResponse(status=_UNSATISFIABLE)
        response["Content-Range"] = f"bytes */{listed.size_bytes}"
        return response
    return None


def output_file_response(
    request: HttpRequest | Request, *, located: Located, user: str
) -> HttpResponseBase:
    """The file, or a range of it: the copy that is kept here, else straight from its node.

    user: for the node's log, without dots. Raises NotFound, Unavailable.
    """
    filename = located.path.rpartition("/")[2]
    listed = located.listed
    holder = _leased(located.attempt, user)
    kept = kept_open(listed) if listed is not None else None
    if listed is not None and kept is not None:
        held = Leased(kept, instance_id=located.attempt.instance_id, holder=holder)
        return file_response(
            request, held, size=listed.size_bytes, etag=f'"{listed.sha256}"', filename=filename
        )
    if listed is not None:
        early = _early_answer(request, listed)
        if early is not None:
            file_headers(early, etag=f'"{listed.sha256}"', filename=filename)
            return early
    file = file_open(
        node=located.attempt.node,
        instance_id=located.attempt.instance_id,
        attempt=located.attempt.number,
        path=located.path,
        user=user,
        method="HEAD" if request.method == "HEAD" else "GET",
        headers=_headers_for_node(request, located),
    )
    response = _answer(request, file, located=located, holder=holder)
    etag = f'"{listed.sha256}"' if listed is not None else file.header("ETag")
    file_headers(response, etag=etag, filename=filename)
    return response


def kept_open(file: OutputFile) -> "File[bytes] | None":
    """The copy of a file that the storage has; None = there is none, or it was lost there."""
    copy = getattr(file, "copy", None)
    if copy is None or copy.state != ResultCopy.State.KEPT:
        return None
    try:
        found: File[bytes] = default_storage.open(copy.storage_name, "rb")
    except FileNotFoundError:
        _log.error("%s is not in the storage any more: %s", file, copy.storage_name)
        return None
    return found


def kept_log_response(
    request: HttpRequest | Request, attempt: Attempt, stored_bytes: int
) -> HttpResponseBase | None:
    """The kept console.log of an attempt, when it is longer than what SQL has of it."""
    rows = OutputFile.objects.select_related("copy").filter(size_bytes__gt=stored_bytes)
    file = rows.filter(attempt=attempt, path=paths.CONSOLE_FILE).first()
    kept = kept_open(file) if file is not None else None
    if file is None or kept is None:
        return None
    try:
        holder = _leased(attempt, str(request.user.pk))
    except Gone:
        kept.close()
        return None
    held = Leased(kept, instance_id=attempt.instance_id, holder=holder)
    filename = f"job-{attempt.instance_id}-a{attempt.number}-console.log"
    return file_response(
        request, held, size=file.size_bytes, etag=f'"{file.sha256}"', filename=filename
    )


def _leased(attempt: Attempt, user: str) -> str:
    """Keep what has ended from being removed while it is handed out; raises Gone when it is too late."""
    holder = f"download:{user}"
    if attempt.ended_at is not None:
        lease_take(attempt=attempt, holder=holder)
    return holder


def _answer(
    request: HttpRequest | Request, file: NodeFile, *, located: Located, holder: str
) -> HttpResponseBase:
    has_body = request.method != "HEAD" and file.status in {200, _PARTIAL}
    response: HttpResponseBase
    if has_body:
        leased = Leased(file, instance_id=located.attempt.instance_id, holder=holder)
        response = FileAnswer(Streamed(leased, length=file.length), status=file.status)
    else:
        file.close()
        response = HttpResponse(status=file.status, content_type="application/octet-stream")
    for name in _PASSED_ON:
        if file.header(name) and (has_body or request.method == "HEAD" or name != "Content-Length"):
            response[name] = file.header(name)
    return response


def _pieces(row: OutputFile, user_id: int) -> Iterator[bytes]:
    kept = kept_open(row)
    if kept is not None:
        with kept:
            while piece := kept.read(PIECE_BYTES):
                yield piece
        return
    attempt, path = row.attempt, row.path
    with file_open(
        node=attempt.node,
        instance_id=attempt.instance_id,
        attempt=attempt.number,
        path=path,
        user=str(user_id),
    ) as file:
        while piece := file.read():
            yield piece


def zip_names(paths: Iterable[str]) -> list[str]:
    """Names inside of a zip that mean the same everywhere, each once.

    Windows takes ``\\`` for a folder and ``:`` for a drive, so such a name could lead out of the folder.
    """
    taken: dict[str, None] = {}
    for path in paths:
        plain = path.translate(_UNSAFE)
        folder, slash, last = plain.rpartition("/")
        stem, dot, ending = last.rpartition(".")
        tries = count(2)
        while plain in taken:
            number = next(tries)
            numbered = f"{stem} ({number}){dot}{ending}" if stem else f"{last} ({number})"
            plain = f"{folder}{slash}{numbered}"
        taken[plain] = None
    return list(taken)


class _ZipSource:
    """A zip as a source of `Streamed`; files are fetched one after another, each when its turn comes."""

    def __init__(self, archive: ZipStream) -> None:
        self._pieces: Iterator[bytes] = iter(archive)

    def read(self, size: int, /) -> bytes:
        """Pieces of about this size, so that headers of small files do not travel alone."""
        found = bytearray()
        while len(found) < size and (piece := next(self._pieces, b"")):
            found += piece
        return bytes(found)

    def close(self) -> None:
        close = getattr(self._pieces, "close", None)
        if close is not None:
            close()


def output_zip_response(
    *, files: Iterable[OutputFile], filename: str, user_id: int, within: str = ""
) -> StreamingHttpResponse:
    """Files of one attempt as one zip, not compressed: weights do not shrink.

    Every file's attempt and node must be loaded. within: a folder whose name is left out of the zip.
    """
    rows = list(files)
    names = zip_names(row.path.removeprefix(f"{within}/") for row in rows)
    # A running attempt's files may grow while they are sent, so the zip's size is not known then.
    is_final = all(row.attempt.ended_at is not None for row in rows)
    holder = _leased(rows[0].attempt, str(user_id))
    archive = ZipStream(compress_type=ZIP_STORED, sized=is_final)
    for row, name in zip(rows, names, strict=True):
        size = row.size_bytes if is_final else None
        archive.add(_pieces(row, user_id), name, size=size)
    source = Leased(_ZipSource(archive), instance_id=rows[0].attempt.instance_id, holder=holder)
    response = StreamingHttpResponse(Streamed(source), content_type="application/zip")
    if is_final:
        response["Content-Length"] = str(len(archive))
    file_headers(response, etag="", filename=filename)
    del response["ETag"], response["Accept-Ranges"]
    return response
