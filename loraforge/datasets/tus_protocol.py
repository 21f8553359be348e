"""The words of tus 1.0.0 (https://tus.io/protocols/resumable-upload): headers in, headers out. Pure."""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from email.utils import format_datetime

from django.utils.translation import gettext as _

from loraforge.core.errors import LoraForgeError

VERSION = "1.0.0"
EXTENSIONS = "creation,creation-with-upload,termination,checksum,expiration"
CONTENT_TYPE = "application/offset+octet-stream"
ALGORITHMS = ("sha256", "sha1")
MAX_METADATA = 4096

# An integer as the protocol writes one; longer ones are no file size.
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


class TusError(LoraForgeError):
    """A refusal with a status of its own."""

    def __init__(self, status: int, error_id: str, message: str) -> None:
        super().__init__(error_id, message)
        self.status = status


class Headers:
    """The request's headers, by lower-case name."""

    def __init__(self, raw: Iterable[tuple[bytes, bytes]]) -> None:
        self._values = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw
        }

    def get(self, name: str) -> str:
        """The value, stripped; empty when it is not there."""
        return self._values.get(name, "").strip()

    def number(self, name: str) -> int | None:
        """A header that is a non-negative integer; None when absent. Raises TusError (400)."""
        text = self.get(name)
        if not text:
            return None
        if not _NUMBER.fullmatch(text):
            raise TusError(
                400,
                "datasets:bad_header",
                _("The header %(name)s must be a whole number.") % {"name": name},
            )
        return int(text)


def check_version(headers: Headers) -> None:
    """Raises TusError (412) unless the client speaks our version."""
    if headers.get("tus-resumable") != VERSION:
        raise TusError(
            412,
            "datasets:tus_version",
            _("Send the header Tus-Resumable: %(version)s.") % {"version": VERSION},
        )


def check_content_type(headers: Headers) -> None:
    """Raises TusError (415) unless the body is announced as bytes of an upload."""
    if headers.get("content-type").split(";")[0].strip().lower() != CONTENT_TYPE:
        raise TusError(
            415,
            "datasets:tus_content_type",
            _("Send the header Content-Type: %(type)s.") % {"type": CONTENT_TYPE},
        )


def metadata_read(text: str) -> dict[str, str]:
    """``Upload-Metadata``: comma-separated pairs of a key and a base64 value. Raises TusError (400)."""
    found: dict[str, str] = {}
    if len(text) > MAX_METADATA:
        raise _bad_metadata()
    for pair in filter(None, (part.strip() for part in text.split(","))):
        key, _blank, value = pair.partition(" ")
        if key in found:
            raise _bad_metadata()
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _bad_metadata() from error
    return found


def _bad_metadata() -> TusError:
    return TusError(
        400,
        "datasets:bad_metadata",
        _("Upload-Metadata must be comma-separated pairs of a key and a base64 value."),
    )


def metadata_write(values: Mapping[str, str]) -> str:
    """The header that `metadata_read` reads."""
    return ",".join(
        f"{key} {base64.b64encode(value.encode()).decode()}"
        for key, value in values.items()
        if value
    )


def checksum_read(text: str) -> tuple[str, bytes] | None:
    """``Upload-Checksum``: algorithm and digest; None when absent. Raises TusError (400)."""
    if not text:
        return None
    algorithm, _blank, value = text.partition(" ")
    try:
        digest = base64.b64decode(value.strip(), validate=True)
    except binascii.Error:
        digest = b""
    if algorithm not in ALGORITHMS or not digest:
        raise TusError(
            400,
            "datasets:bad_checksum",
            _("Upload-Checksum must be one of %(names)s and a base64 digest.")
            % {"names": ", ".join(ALGORITHMS)},
        )
    return algorithm, digest


def checksum_differs() -> TusError:
    """460: the bytes that arrived are not those that were sent."""
    return TusError(
        460,
        "datasets:checksum_differs",
        _("The chunk was damaged on its way (checksum differs). Send it again."),
    )


def expires_header(at: datetime) -> str:
    """``Upload-Expires`` is an HTTP date."""
    return format_datetime(at, usegmt=True)
