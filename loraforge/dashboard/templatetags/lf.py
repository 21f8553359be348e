"""What every template may use: icons, chips of states, times, durations, and the texts of JavaScript."""

import json
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any

from django import template
from django.template.loader import render_to_string
from django.templatetags.static import static
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timezone import localtime
from django.utils.translation import get_language
from django.utils.translation import gettext as _

from loraforge.core.sizes import figure_of, file_size, memory_size
from loraforge.dashboard import explain, texts
from loraforge.dashboard.joblines import JobLine
from loraforge.instances.models import STATE_LABELS
from loraforge.instances.states import State
from loraforge.nodes.models import NodeState
from loraforge.training.modules import job_type_label

register = template.Library()

# Looks of glossary.md section 2: colour, and "moving" where something is on its way to the next state.
STATE_LOOKS: dict[str, str] = {
    State.DRAFT: "",
    State.QUEUED: "is-amber",
    State.ASSIGNED: "is-amber",
    State.PREPARING: "is-blue is-moving",
    State.RUNNING: "is-blue",
    State.FINISHING: "is-blue is-moving",
    State.SUCCEEDED: "is-green",
    State.STOPPING: "is-amber is-moving",
    State.STOPPED: "",
    State.FAILED: "is-red",
    State.UNKNOWN: "is-amber is-dashed",
    State.LOST: "is-red",
}
NODE_LOOKS: dict[str, str] = {
    NodeState.NEW: "",
    NodeState.ONLINE: "is-green",
    NodeState.SUSPECT: "is-amber",
    NodeState.OFFLINE: "is-red",
    NodeState.LOST: "is-red is-dashed",
    NodeState.MAINTENANCE: "",
}
# From here on seconds are no news.
WHOLE_MINUTES = 10
WHOLE_SECONDS = 10
# Rows of the list of jobs that a process keeps ready, 2 KB each.
ROWS_KEPT = 2000
BAR_LOOKS: dict[str, str] = {
    State.SUCCEEDED: "is-green",
    State.FAILED: "is-red",
    State.LOST: "is-red",
    State.STOPPED: "is-grey",
    State.DRAFT: "is-grey",
}


@register.simple_tag
def module(name: str) -> SafeString:
    """The script of a page: one bundle of tools/build_frontend.mjs with all that it needs."""
    return format_html('<script type="module" src="{}"></script>', static(f"dist/{name}"))


@register.simple_tag
@lru_cache(maxsize=200)
def icon(name: str, classes: str = "") -> SafeString:
    """An inline SVG of static/icons.svg; decoration only, so it is hidden from screen readers."""
    return format_html(
        '<svg class="lf-icon {}" aria-hidden="true" focusable="false"><use href="{}#{}"></use></svg>',
        classes,
        static("icons.svg"),
        name,
    )


@register.simple_tag
def state_chip(state: str, size: str = "", *, saved_step: int | None = None) -> SafeString:
    """The chip of an instance's state. A stopped one says which of the two stops it was."""
    label = str(STATE_LABELS[State(state)])
    if state == State.STOPPED:
        label = (
            _("Cancelled (not saved)")
            if saved_step is None
            else _("Stopped (saved at step %(step)s)") % {"step": saved_step}
        )
    return format_html(
        '<span class="lf-chip {} {}" data-state="{}">{}</span>',
        STATE_LOOKS[state],
        "lf-chip-lg" if size == "lg" else "",
        state,
        label,
    )


@register.simple_tag
def job_row(line: JobLine, *, shows_owner: bool) -> SafeString:
    """A row of the list of jobs."""
    return _job_row(line, shows_owner, get_language())


@lru_cache(maxsize=ROWS_KEPT)
def _job_row(line: JobLine, shows_owner: bool, _language: str | None) -> SafeString:  # noqa: FBT001 - a key
    """Made of nothing else, so that a row that has not changed is not made again for whoever looks."""
    context = {"row": line, "shows_owner": shows_owner}
    return render_to_string("dashboard/partials/_job_row.html", context)


@register.simple_tag
def state_chip_plain(state: str) -> SafeString:
    """The chip of a state that was passed through, by its plain name."""
    look = STATE_LOOKS[state].replace("is-moving", "")
    return format_html('<span class="lf-chip {}">{}</span>', look, STATE_LABELS[State(state)])


@register.simple_tag
def failure_cause(reason: str) -> str:
    """Why an attempt failed, as one sentence."""
    found = explain.diagnosis_of(reason, "")
    return found.cause if found is not None else ""


@register.simple_tag
def failure_side(reason: str) -> str:
    """To whom that belongs."""
    found = explain.diagnosis_of(reason, "")
    return found.side if found is not None else ""


@register.filter
def reason_words(reason: str) -> str:
    """An event's reason in words; empty where only its id is known."""
    return explain.reason_words(reason)


@register.simple_tag
def detail_words(reason: str, detail: str) -> str:
    """An event's detail in the reader's language."""
    return explain.detail_words(reason, detail)


@register.filter
def bar_look(state: str) -> str:
    """CSS class of the progress bar of an instance in this state."""
    return BAR_LOOKS.get(state, "")


@register.simple_tag
def node_chip(state: str, label: str) -> SafeString:
    """The chip of a node's state."""
    return format_html(
        '<span class="lf-chip {}" data-state="{}">{}</span>', NODE_LOOKS[state], state, label
    )


@register.simple_tag
def when(moment: datetime | None, style: str = "moment") -> SafeString:
    """A moment as ``<time>``. JavaScript turns it into the reader's zone; style: moment, exact, ago, date, soon."""
    if moment is None:
        return SafeString("")
    return format_html(
        '<time datetime="{}" data-time="{}">{}</time>',
        moment.isoformat(),
        style,
        localtime(moment).strftime("%Y-%m-%d %H:%M"),
    )


@register.filter
def in_bytes(count: int) -> str:
    """Of a file or a disk: ``162 MB``."""
    return file_size(count)


@register.filter
def in_memory(count: int) -> str:
    """Of a machine's or a GPU's memory: ``80.0 GiB``."""
    return memory_size(count)


@register.filter
def figure(value: float) -> str:
    """Four significant figures, as static/js/core/format.js writes a loss: ``5.038``."""
    return figure_of(value)


@register.filter
def grouped(count: int) -> str:
    """``1,204,882``, in every language as JavaScript writes it for these two."""
    return f"{count:,}"


@register.filter
def duration(seconds: float | None) -> str:
    """``2 h 15 min``, ``4 min``, ``50 s``; empty for None."""
    if seconds is None:
        return ""
    hours, rest = divmod(int(seconds), 3600)
    minutes, left = divmod(rest, 60)
    if hours:
        return _("%(h)s h %(m)s min") % {"h": hours, "m": minutes}
    if minutes >= WHOLE_MINUTES:
        return _("%(m)s min") % {"m": minutes}
    if minutes:
        return _("%(m)s min %(s)s s") % {"m": minutes, "s": left}
    return _("%(s)s s") % {"s": left}


@register.filter
def span(seconds: float | None) -> str:
    """As `duration`, and below ten seconds with a tenth: ``0.4 s``."""
    if seconds is None or seconds >= WHOLE_SECONDS:
        return duration(seconds)
    return _("%(s)s s") % {"s": f"{seconds:.1f}"}


@register.filter
def shown(value: Any) -> str:
    """An argument's value as a person reads it on a command line."""
    return explain.value_shown(value)


@register.filter
def method_of(arguments: Mapping[str, Any] | None) -> str:
    """Training method of a set of arguments."""
    return explain.method_label(dict(arguments or {}))


@register.filter
def job_type(draft: Mapping[str, Any] | str) -> str:
    """What people call the work of a draft, or of a command of SWIFT alone."""
    if isinstance(draft, str):
        return job_type_label(draft, {})
    return job_type_label(str(draft.get("command", "")), draft.get("arguments") or {})


@register.filter
def pretty_json(value: Any) -> str:
    """Rows of a preview, one value a line."""
    return json.dumps(value, ensure_ascii=False, indent=2)


@register.filter
def short_model(model: str) -> str:
    """The last part of a model's id or path."""
    return model.rstrip("/").rsplit("/", 1)[-1]


@register.simple_tag
def js_texts(page: str) -> dict[str, str]:
    """The texts that the JavaScript of this page shows, translated."""
    return texts.for_page(page)


@register.filter
def at(known: Mapping[str, Any], number: object) -> Any:
    """The entry of a mapping whose keys are numbers as JSON writes them; None when it has none."""
    return known.get(str(number))
