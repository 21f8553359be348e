"""What a job may ask for if something goes wrong: its bounds, and which of it holds."""

from django.conf import settings
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.accounts.models import Role, User
from loraforge.training.drafts import JobDraft
from loraforge.training.findings import Findings
from loraforge.training.models import NodeLost
from loraforge.training.policy import run_limit_s

MAX_RUN_S_LEAST = 60
MAX_RUN_S_MOST = 366 * 86_400
SAVE_EVERY_S_LEAST = 30
SAVE_EVERY_S_MOST = 30 * 86_400

DEAF = gettext_lazy(
    "SWIFT's PPO trainer cannot save when it is stopped, on request or by the clock: only every --save_steps "
    "steps. What was trained after the last of them is lost at a stop."
)


def role_limit_s(user: User) -> int:
    """The longest that a job of this person's may run, in seconds; 0 = without limit."""
    role = Role.ADMIN if user.is_superuser else user.role
    limit: int = settings.MAX_RUN_S.get(role, 0)
    return limit


def options_check(*, user: User, draft: JobDraft, findings: Findings) -> int:
    """Judge the options of a draft for the user who asks; returns the run time that holds, in seconds."""
    if draft.on_node_lost not in NodeLost.values:
        text = _("There is no such choice. One of: %(choices)s.")
        findings.refuse("on_node_lost", text % {"choices": ", ".join(NodeLost.values)})
    if draft.save_every_s is not None and not _is_within(
        draft.save_every_s, SAVE_EVERY_S_LEAST, SAVE_EVERY_S_MOST
    ):
        text = _(
            "From %(least)s seconds to 30 days; 0 = only by steps, empty = the platform's setting."
        )
        findings.refuse("save_every_s", text % {"least": SAVE_EVERY_S_LEAST})
    _run_time_check(user, draft.max_run_s, findings)
    return run_limit_s(asked_s=draft.max_run_s, role_s=role_limit_s(user))


def _run_time_check(user: User, asked_s: int, findings: Findings) -> None:
    limit_s = role_limit_s(user)
    if not _is_within(asked_s, MAX_RUN_S_LEAST, MAX_RUN_S_MOST):
        text = _("From %(least)s seconds to 366 days; 0 = as long as your role may.")
        findings.refuse("max_run_s", text % {"least": MAX_RUN_S_LEAST})
    elif limit_s and asked_s > limit_s:
        text = _(
            "Your jobs may run for %(limit)s seconds at most. Ask for less, or ask an operator."
        )
        findings.refuse("max_run_s", text % {"limit": limit_s})


def _is_within(value: int, least: int, most: int) -> bool:
    return value == 0 or least <= value <= most
