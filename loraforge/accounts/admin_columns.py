"""Columns of admin pages, in lists and on the page of one row alike.

Each is made from a path (``instance.node``) and what people call it: a heading in their language
without naming it in the model, sortable, and never a value that could be taken for markup.
"""

import json
import string
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlencode

from django.contrib import admin
from django.db.models import Model
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import Truncator
from django.utils.timezone import localtime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy
from unfold.utils import display_for_label

from loraforge.core.sizes import file_size
from loraforge.core.words import reason_said

if TYPE_CHECKING:
    from django.utils.functional import _StrPromise

Text: TypeAlias = "str | _StrPromise"
Column = Callable[..., Any]

EMPTY = "-"
SHOWN_BYTES = 2048
SHORT = 30
ONE_LINE = 24  # letters of a name that a table does not break
PRINTABLE = frozenset(f"{string.ascii_letters}{string.digits}{string.punctuation} ")


def _end(row: Any, path: str) -> tuple[Any, str]:
    """The object that holds the last name of the path, and that name; None where a step is empty."""
    *steps, last = path.split(".")
    for step in steps:
        row = getattr(row, step, None)
    return row, last


def _value(row: Any, path: str) -> Any:
    holder, name = _end(row, path)
    words = getattr(holder, f"get_{name}_display", None)
    return words() if words else getattr(holder, name, None)


def _none_if_blank(value: Any) -> Any:
    return None if value == "" else value


def _order(path: str) -> str:
    return path.replace(".", "__")


def _column(path: str, label: Text, show: Callable[[Any], Any], *, boolean: bool = False) -> Column:
    order = _order(path)

    def column(_page: Any, row: Model) -> Any:
        return show(row)

    if boolean:
        return admin.display(description=label, ordering=order, boolean=True)(column)
    return admin.display(description=label, ordering=order, empty_value=EMPTY)(column)


def plain(path: str, label: Text, *, boolean: bool = False) -> Column:
    """The value as Django shows it; choices by their names."""
    return _column(path, label, lambda row: _none_if_blank(_value(row, path)), boolean=boolean)


def reason(paths: Sequence[tuple[str, str]], label: Text) -> Column:
    """Why something waits or failed, in words; all of them and the id under the pointer.

    paths: the reason's and its detail's, in pairs; the first reason that is there is said.
    """

    def show(row: Any) -> Any:
        for path, details in paths:
            found = _value(row, path)
            if found:
                detail = _value(row, details)
                said = reason_said(found, detail if isinstance(detail, Mapping) else {})
                hint = f"{said} ({found})"
                return format_html(
                    '<span class="lf-admin-reason" title="{}">{}</span>',
                    hint,
                    Truncator(said).chars(SHORT),
                )
        return None

    return admin.display(description=label, ordering=_order(paths[0][0]), empty_value=EMPTY)(
        lambda _page, row: show(row)
    )


def when(path: str, label: Text) -> Column:
    """A moment to the second, in one line and sortable by eye; the zone is the server's (UTC)."""

    def show(row: Any) -> Any:
        moment = _value(row, path)
        if moment is None:
            return EMPTY
        text = localtime(moment).strftime("%Y-%m-%d %H:%M:%S")
        return format_html('<time class="whitespace-nowrap" datetime="{}">{}</time>', moment, text)

    return _column(path, label, show)


def flag(path: str, label: Text) -> Column:
    """Something out of the ordinary: its label where it is so, nothing elsewhere."""

    def show(row: Any) -> str:
        chosen: str = display_for_label((True, str(label)), EMPTY, {True: "warning"})
        return chosen if _value(row, path) else EMPTY

    return _column(path, label, show)


def short(path: str, label: Text) -> Column:
    """A text that people write at any length, cut in a list; the whole of it under the pointer."""

    def show(row: Any) -> Any:
        text = str(_value(row, path))
        return format_html(
            '<span class="whitespace-nowrap" title="{}">{}</span>',
            text,
            Truncator(text).chars(SHORT),
        )

    return _column(path, label, show)


def last_part(path: str, label: Text) -> Column:
    """What is behind the last slash; the whole of it under the pointer."""

    def show(row: Any) -> Any:
        text = str(_value(row, path))
        return format_html(
            '<span title="{}">{}</span>', text, text.rstrip("/").rsplit("/", 1)[-1] or text
        )

    return _column(path, label, show)


def called(method: str, label: Text) -> Column:
    """What a method of the row gives."""
    show = admin.display(description=label, empty_value=EMPTY)
    return show(lambda _page, row: getattr(row, method)() or None)


def number(path: str, label: Text) -> Column:
    """#41: how people name an instance."""
    return _column(path, label, lambda row: f"#{_value(row, path)}")


def chip(path: str, label: Text, looks: Mapping[Any, str]) -> Column:
    """A choice in a colour: looks gives success, info, warning or danger for a value."""

    def show(row: Any) -> str:
        holder, name = _end(row, path)
        value = getattr(holder, name, None)
        if value in {None, ""}:
            return EMPTY
        known = {value: looks.get(value, "")}
        shown: str = display_for_label((value, str(_value(row, path))), EMPTY, known)
        return shown

    return _column(path, label, show)


def size(path: str, label: Text) -> Column:
    """Bytes in the unit that people read."""
    return _column(path, label, lambda row: file_size(_value(row, path)))


def linked(path: str, label: Text) -> Column:
    """Another row by its name, linked to its page."""
    return _column(path, label, lambda row: link(_value(row, path)))


def data(path: str, label: Text) -> Column:
    """A JSON value, indented."""

    def show(row: Any) -> Any:
        value = _value(row, path)
        return preformatted(json.dumps(value, indent=2, ensure_ascii=False)) if value else EMPTY

    return _column(path, label, show)


def joined(path: str, label: Text) -> Column:
    """A list of texts in one line."""
    return _column(path, label, lambda row: ", ".join(map(str, _value(row, path))) or EMPTY)


def elsewhere(app: str, model: str, key: str, label: Text) -> Column:
    """A link to the list of another model with what belongs to this row; key: its filter.

    By name, since an app below knows no app above.
    """

    @admin.display(description=label)
    def column(_page: Any, row: Model) -> SafeString:
        address = reverse(f"admin:{app}_{model}_changelist")
        return anchor(f"{address}?{urlencode({key: row.pk})}", _("Show"))

    return column


def audited(model: str = "") -> Column:
    """A link to what the audit log says of this row, or of the ``model`` that has the same key."""

    @admin.display(description=gettext_lazy("audit log"))
    def column(_page: Any, row: Model) -> SafeString:
        kind = model or row._meta.model_name
        filters = {"content_type__model__exact": kind, "object_pk__exact": row.pk}
        return anchor(
            f"{reverse('admin:auditlog_logentry_changelist')}?{urlencode(filters)}", _("Show")
        )

    return column


def raw(path: str, label: Text) -> Column:
    """The first bytes of a binary value, in hexadecimal and as far as they are printable ASCII."""
    return _column(path, label, lambda row: preformatted(hex_dump(bytes(_value(row, path)))))


def filter_titled(
    title: Text, kind: type[admin.FieldListFilter] | None = None
) -> type[admin.FieldListFilter]:
    """A filter under this title: of ``kind``, else what Django would choose for the column."""

    class Titled(admin.FieldListFilter):
        def __new__(cls, *arguments: Any, **named: Any) -> Any:
            made: Any = (kind or admin.FieldListFilter.create)(*arguments, **named)
            made.title = title
            return made

    return Titled


def link(row: Any, text: str = "") -> str:
    """A row's page in the admin; its name alone when it has none."""
    if row is None:
        return EMPTY
    name = f"admin:{row._meta.app_label}_{row._meta.model_name}_change"
    try:
        address = reverse(name, args=(row.pk,))
    except NoReverseMatch:
        return text or str(row)
    return anchor(address, text or str(row))


def anchor(address: str, text: Text) -> SafeString:
    """A link in the admin's colour."""
    return format_html(
        '<a class="text-primary-600 dark:text-primary-500 hover:underline {}" href="{}">{}</a>',
        "whitespace-nowrap" if len(str(text)) <= ONE_LINE else "",
        address,
        text,
    )


def preformatted(text: str) -> SafeString:
    """Text as it is, in lines that wrap."""
    return format_html(
        '<pre class="whitespace-pre-wrap break-words font-mono text-xs max-h-96 overflow-auto">{}</pre>',
        text,
    )


def hex_dump(value: bytes) -> str:
    """Sixteen bytes a line, as ``xxd`` writes them; what follows SHOWN_BYTES is only counted."""
    lines = []
    for start in range(0, min(len(value), SHOWN_BYTES), 16):
        part = value[start : start + 16]
        letters = "".join(chr(byte) if chr(byte) in PRINTABLE else "." for byte in part)
        lines.append(f"{start:06x}  {part.hex(' '):<47}  {letters}")
    if len(value) > SHOWN_BYTES:
        lines.append(f"... {len(value) - SHOWN_BYTES} B")
    return "\n".join(lines)
