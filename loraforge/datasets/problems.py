"""What the errors and notes of a row check mean to a person, each with its remedy."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

_TEXTS = {
    "rows:empty": gettext_noop(
        "The file has no rows. Upload a JSONL file with one JSON object on each line."
    ),
    "rows:container": gettext_noop(
        "This is a %(container)s file. Unpack it and upload the JSONL file itself (.jsonl, one JSON "
        "object on each line)."
    ),
    "rows:sha256_differs": gettext_noop(
        "The bytes that arrived are not the bytes that were announced (SHA-256 differs). Upload the "
        "file again."
    ),
    "rows:check_failed": gettext_noop(
        "The file could not be checked: the checking program ended %(tries)s times without a result. "
        "Split the file into smaller ones, or ask an operator to look at the log."
    ),
    "rows:line_too_long": gettext_noop(
        "The line is longer than %(limit_bytes)s bytes. Is a line break missing? One row must be one "
        "line."
    ),
    "rows:not_utf8": gettext_noop(
        "The line is not UTF-8. Save the file as UTF-8 and upload it again."
    ),
    "rows:not_json": gettext_noop(
        "The line is not JSON (%(detail)s). Write each row as one JSON object on one line."
    ),
    "rows:not_an_object": gettext_noop(
        "The line is JSON but no object. Write {...} on each line, without a list around the rows."
    ),
    "rows:unknown_columns": gettext_noop(
        "The columns (%(columns)s) say nothing to SWIFT. Use messages, conversations, instruction with "
        "output, query with response, or text."
    ),
    "rows:mixed": gettext_noop(
        "This row is of the format %(found)s, but the file began with %(first)s. Put each format into "
        "a file of its own."
    ),
    "rows:not_a_list": gettext_noop(
        '"%(column)s" must be a list with at least one turn, such as [{"role": "user", "content": '
        '"..."}, {"role": "assistant", "content": "..."}].'
    ),
    "rows:turn_not_an_object": gettext_noop(
        'Turn %(number)s of "%(column)s" must be an object with a role and a content.'
    ),
    "rows:unknown_role": gettext_noop("Turn %(number)s has no known role. Use one of: %(roles)s."),
    "rows:content_not_text": gettext_noop("The content of turn %(number)s must be a text."),
    "rows:last_not_assistant": gettext_noop(
        'The last turn of "%(column)s" must be the assistant\'s: it is the answer to be learned. Add '
        "it, or remove the row."
    ),
    "rows:column_not_text": gettext_noop('"%(column)s" must be a text.'),
    "rows:no_answer": gettext_noop('The row has no answer. Add the column "%(columns)s".'),
    "rows:bom": gettext_noop(
        "The file begins with a byte order mark. That does no harm; UTF-8 without it is cleaner."
    ),
}


def text_of(error_id: str, params: Mapping[str, Any] | None = None) -> str:
    """The text in the language of the moment; the id itself when it is of another version."""
    text = _TEXTS.get(error_id)
    if text is None:
        return error_id
    return _(text) % dict(params or {})


def texts_of_errors(errors: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Stored errors as ``{"line", "id", "message"}`` in the language of the moment."""
    return [
        {
            "line": error["line"],
            "id": error["id"],
            "message": text_of(error["id"], error.get("params")),
        }
        for error in errors
    ]
