"""Errors that a caller can act on. Each has an id, a text with the remedy, fields, and an HTTP status."""

import logging
from collections.abc import Mapping, Sequence

from django.utils.translation import gettext as _

log = logging.getLogger(__name__)

Fields = Mapping[str, Sequence[str]]


class LoraForgeError(Exception):
    """Base of all expected errors; answered as ``{"error": {"id", "message", "fields"}}``."""

    status = 400

    def __init__(self, error_id: str, message: str, *, fields: Fields | None = None) -> None:
        """error_id is ``app:reason``; message is translated and says what to do; fields: name -> texts."""
        super().__init__(message)
        self.error_id = error_id
        self.message = message
        self.fields: dict[str, list[str]] = {
            key: list(texts) for key, texts in (fields or {}).items()
        }


class BodyBroken(Exception):
    """The rest of an answer that has begun cannot be had; the connection is cut, so that its reader sees it."""


class Invalid(LoraForgeError):
    """The input is wrong."""

    status = 400


class Denied(LoraForgeError):
    """Known, visible, but not allowed."""

    status = 403


class NotFound(LoraForgeError):
    """Does not exist, or the caller may not know that it does."""

    status = 404


class Conflict(LoraForgeError):
    """Not in a state in which this can be done."""

    status = 409


class Gone(LoraForgeError):
    """It was here and was removed."""

    status = 410


class Locked(LoraForgeError):
    """Somebody else is writing it now."""

    status = 423


class Unavailable(LoraForgeError):
    """Something behind us does not answer; trying again later helps."""

    status = 503


def database_away(error: Exception) -> Unavailable:
    """What an outage of the database is to a caller: nobody's fault, and worth another try."""
    log.error("a request met a database that does not answer: %s", str(error).strip())
    return Unavailable(
        "core:database_away", _("The database does not answer. Try again in a minute.")
    )
