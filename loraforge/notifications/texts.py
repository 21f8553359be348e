"""The words of a notification, in the language of whoever reads it now; only facts are stored."""

from typing import Any

from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.nodes.gputexts import mark_label

TITLES = {
    "running": gettext_lazy("Training started"),
    "succeeded": gettext_lazy("Training finished"),
    "failed": gettext_lazy("Training failed"),
    "stopped": gettext_lazy("Training stopped"),
    "lost": gettext_lazy("Training lost"),
    "retried": gettext_lazy("Training is tried again"),
    "migrated": gettext_lazy("Training moved to another node"),
    "migration_failed": gettext_lazy("A move to another node failed"),
    "node_drained": gettext_lazy("A node is in maintenance"),
    "files_go_soon": gettext_lazy("Output files are removed tomorrow"),
    "budget_warning": gettext_lazy("A budget is nearly used up"),
    "budget_full": gettext_lazy("A budget is used up"),
    "node_disk_warning": gettext_lazy("A node's disk is filling up"),
    "node_disk_low": gettext_lazy("A node's disk is nearly full"),
    "node_gpu_sick": gettext_lazy("A GPU is given to no job"),
}

_SENTENCES = {
    "running": gettext_lazy("#%(number)s %(name)s runs on %(node)s."),
    "succeeded": gettext_lazy("#%(number)s %(name)s is done; its output files are ready."),
    "migrated": gettext_lazy(
        "#%(number)s %(name)s moved from %(source)s to %(target)s and trains on."
    ),
    "migration_failed": gettext_lazy(
        "#%(number)s %(name)s could not be moved from %(source)s to %(target)s. Its page says why."
    ),
    "node_drained": gettext_lazy("Nothing runs on %(node)s any more; it may be switched off."),
    "files_go_soon": gettext_lazy(
        "The output files of #%(number)s %(name)s are removed on %(date)s. "
        "Download what you need, or press Keep on its page."
    ),
    "budget_warning": gettext_lazy(
        "%(percent)s %% of this month's budget of %(budget)s (%(limit)s) is used up."
    ),
    "budget_full": gettext_lazy(
        "This month's budget of %(budget)s (%(limit)s) is used up. The page Usage says what follows."
    ),
    "node_disk_warning": gettext_lazy(
        "%(percent)s %% of %(node)s's disk is free. Below 10 %% it takes no new jobs."
    ),
    "node_disk_low": gettext_lazy(
        "%(percent)s %% of %(node)s's disk is free. It takes no new jobs until there is more room."
    ),
    "node_gpu_sick": gettext_lazy("GPU %(gpu)s of %(node)s: %(why)s. Its node's page says more."),
}


def title_of(what: str) -> str:
    """A few words, for a heading."""
    return str(TITLES.get(what, what))


def body_of(what: str, values: dict[str, Any]) -> str:
    """One sentence that names the job."""
    named = {
        "number": values.get("number"),
        "name": values.get("name", ""),
        "node": values.get("node", ""),
        "step": values.get("saved_step"),
        "retries": values.get("retries"),
        "date": values.get("date", ""),
        "percent": values.get("percent", ""),
        "gpu": values.get("gpu", ""),
        "why": mark_label(str(values.get("kind", ""))),
        "budget": values.get("budget", ""),
        "limit": values.get("limit", ""),
        "source": values.get("source", ""),
        "target": values.get("target", ""),
    }
    if what in _SENTENCES:
        return str(_SENTENCES[what]) % named
    if what == "stopped" and named["step"] is not None:
        return _("#%(number)s %(name)s was stopped; step %(step)s is saved.") % named
    if what == "stopped":
        return _("#%(number)s %(name)s was stopped without saving.") % named
    if what == "lost":
        return (
            _("The node of #%(number)s %(name)s did not come back. Resume it on another node.")
            % named
        )
    if what == "retried":
        return (
            _(
                "#%(number)s %(name)s was interrupted; its next attempt waits (retry %(retries)s of 3)."
            )
            % named
        )
    if what == "failed":
        return _("#%(number)s %(name)s failed. Its page says why and what to do.") % named
    return _("#%(number)s %(name)s") % named
