"""What the errors and notes of a row check mean to a person, each with its remedy."""

from collections.abc import Iterable, Mapping
from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

_TEXTS = {
    "rows:code_syntax": gettext_noop("This is no Python that can be read: %(detail)s."),
    "rows:code_too_large": gettext_noop("A file with code is at most %(limit_bytes)s bytes."),
    "rows:code_nothing": gettext_noop(
        'It registers no reward function by name. Write orms["name"] = YourClass at the end of the file.'
    ),
    "rows:too_many_errors": gettext_noop(
        "More than %(limit)s rows are wrong; the rest was not looked at. Correct the file, or say what its columns are."
    ),
    "rows:empty": gettext_noop("The file has no rows. Upload a file with at least one row."),
    "rows:container": gettext_noop(
        "This is a %(container)s file. Unpack it and upload the file with the rows itself (.jsonl, .json, "
        ".csv or .parquet)."
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
        "The columns (%(columns)s) say nothing to SWIFT. Say on the dataset's page what each is, or use "
        "messages, conversations, instruction with output, query with response, or text."
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
    "rows:mixed_traits": gettext_noop(
        "This row brings: %(found)s. The first one brings: %(first)s. Put each kind of row into a file of "
        "its own."
    ),
    "rows:rejected_is_answer": gettext_noop(
        "The rejected answer is the same as the answer. Remove the row, or correct one of the two."
    ),
    "rows:label_not_number": gettext_noop(
        '"label" must be a number, or true or false, without quotation marks.'
    ),
    "rows:media_not_paths": gettext_noop(
        '"%(column)s" must be a path or a list of paths of files.'
    ),
    "rows:too_complex": gettext_noop(
        "The row needs too much memory to be read. Split it into several rows."
    ),
    "rows:utf16": gettext_noop("The file is UTF-16. Save it as UTF-8 and upload it again."),
    "rows:binary": gettext_noop(
        "The file is no text. Upload the file with the rows itself (.jsonl, .json, .csv or .parquet)."
    ),
    "rows:list_broken": gettext_noop(
        "Here the JSON list is broken: %(detail)s is missing. Correct it and upload the file again."
    ),
    "rows:list_of_others": gettext_noop(
        "The list holds something else than objects here. Each row must be an object {...}."
    ),
    "rows:after_list": gettext_noop(
        "Something follows behind the end of the JSON list. A file is one list, or one JSON object on each "
        "line."
    ),
    "rows:csv_broken": gettext_noop(
        "The table cannot be read from here on (%(detail)s). Is a quotation mark not closed?"
    ),
    "rows:csv_not_utf8": gettext_noop(
        'The table is not UTF-8. In a spreadsheet program save it as "CSV UTF-8".'
    ),
    "rows:cells_differ": gettext_noop(
        "The row has %(found)s cells, the first line names %(wanted)s columns."
    ),
    "rows:column_twice": gettext_noop(
        'The first line names the column "%(column)s" twice. Rename one of them.'
    ),
    "rows:too_many_columns": gettext_noop("A table may have at most %(limit)s columns."),
    "rows:parquet_broken": gettext_noop(
        "The Parquet file cannot be read (%(detail)s). Write it again and upload it."
    ),
    "rows:bytes_column": gettext_noop(
        'The column "%(column)s" holds bytes, which no training can read. Leave it out, or write texts.'
    ),
    "rows:too_large": gettext_noop(
        "Unpacked the rows take more than %(limit_bytes)s bytes. Split the dataset into several files."
    ),
    "rows:converted": gettext_noop(
        "The rows are kept as JSONL: that is what jobs read and what is downloaded."
    ),
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
