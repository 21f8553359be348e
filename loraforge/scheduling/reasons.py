"""What a wait reason says to people."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.utils.timezone import localtime
from django.utils.translation import gettext as _

from loraforge.nodes.gputexts import mark_label
from loraforge.scheduling.facts import Reason


def _texts() -> dict[str, str]:
    return {
        Reason.USER_CAP: _("You have %(running)s running; %(cap)s at a time is the limit."),
        Reason.GROUP_CAP: _("Your group %(group)s has %(running)s running; %(cap)s at a time is the limit."),
        Reason.KIND_CAP: _("%(running)s jobs of the kind %(kind)s are running; %(cap)s is the limit."),
        Reason.GLOBAL_CAP: _("%(running)s jobs are running on the platform; %(cap)s is the limit."),
        Reason.BUDGET: _("The month's budget of %(budget)s (%(limit)s) is used up. Wait, or ask for more."),
        Reason.NO_FREE_DEVICE: _("Waits for free devices: %(needed)s needed on one node, %(free)s free now."),
        Reason.RESERVED: _("Free devices are held back for a larger job that has waited longer."),
        Reason.BOOKED: _("Reserved for others, %(starts_at)s to %(ends_at)s. A longest run that ends before fits."),
        Reason.NODE_CORDONED: _("%(nodes)s takes no new jobs at the moment. Choose another node, or ask an operator."),
        Reason.NODE_OFFLINE: _("%(nodes)s is not reachable. Choose another node, or ask an operator."),
        Reason.NODE_DISK_LOW: _("The disk of %(nodes)s is nearly full. Choose another node, or ask an operator."),
        Reason.GPU_BLOCKED: _("Needs %(needed)s on one node, %(free)s free. Not given out: %(gpus)s."),
        Reason.NO_NODE: _("No node has joined yet. Ask an operator to add one."),
        Reason.NEVER_FITS: _("No node has %(needed)s such devices; the most is %(most)s. Ask for fewer, or others."),
    }  # fmt: skip


def _gpus_text(gpus: Any) -> str:
    """GPUs that are blocked, each with why."""
    return "; ".join(
        _("GPU %(number)s of %(node)s (%(why)s)")
        % {"number": number, "node": node, "why": mark_label(kind)}
        for node, number, kind in gpus
    )


def reason_text(*, reason: str, detail: Mapping[str, Any]) -> str:
    """One sentence for a person; the id itself for a reason of a newer version."""
    text = _texts().get(reason)
    if text is None:
        return reason
    if "gpus" in detail:
        detail = {**detail, "gpus": _gpus_text(detail["gpus"])}
    try:
        return text % {**detail, **_times(detail)}
    except KeyError:  # stored by an older version with fewer values
        return reason


def _times(detail: Mapping[str, Any]) -> dict[str, str]:
    """The moments of a detail as people read them."""
    return {
        name: f"{localtime(datetime.fromisoformat(detail[name])):%Y-%m-%d %H:%M}"
        for name in ("starts_at", "ends_at")
        if name in detail
    }


def start_text(*, detail: Mapping[str, Any]) -> str:
    """When it is likely to start, by the stored detail of a wait."""
    if "expected_at" not in detail:
        return _("Start: unknown")
    at = f"{localtime(datetime.fromisoformat(detail['expected_at'])):%m-%d %H:%M}"
    if detail.get("expected_latest"):
        return _("Starts at %(time)s at the latest") % {"time": at}
    return _("Starts about %(time)s") % {"time": at}
