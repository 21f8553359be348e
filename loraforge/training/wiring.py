"""What this app does when a lower one asks; imported once by AppConfig.ready()."""

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from loraforge.artifacts.downloads import kept_log_response
from loraforge.core import beat, events
from loraforge.core.errors import Conflict
from loraforge.datasets.models import Dataset
from loraforge.instances.states import TERMINAL
from loraforge.telemetry.api.streaming import log_kept_by
from loraforge.training.models import Job
from loraforge.training.weights import HOLD_EVERY_S

SHOWN = 5


def dataset_keep(*, dataset: Dataset) -> None:
    """Refuse to delete a dataset while a job that has not ended needs it. Raises Conflict."""
    jobs = (
        Job.objects.filter(job_datasets__dataset=dataset, instance__deleted_at=None)
        .exclude(instance__state__in=[str(state) for state in TERMINAL])
        .distinct()
        .order_by("pk")
        .values_list("pk", "instance__owner__username")
    )
    found = [f"#{number} ({owner})" for number, owner in jobs[: SHOWN + 1]]
    if found:
        shown = ", ".join(found[:SHOWN]) + (" ..." if len(found) > SHOWN else "")
        raise Conflict(
            "datasets:in_use",
            _("Jobs that have not ended use this dataset: %(jobs)s. Delete or end them first.")
            % {"jobs": shown},
        )


def dataset_used(*, dataset: Dataset, found: list[str]) -> None:
    """Say who uses a dataset: those that need it still, and how many had it. Two queries."""
    jobs = Job.objects.filter(job_datasets__dataset=dataset, instance__deleted_at=None).distinct()
    ended = [str(state) for state in TERMINAL]
    live = jobs.exclude(instance__state__in=ended).order_by("pk").values_list("pk", flat=True)
    numbers = [f"#{number}" for number in live[: SHOWN + 1]]
    if numbers:
        shown = ", ".join(numbers[:SHOWN]) + (" ..." if len(numbers) > SHOWN else "")
        found.append(_("Jobs that have not ended need it: %(jobs)s.") % {"jobs": shown})
    count = jobs.filter(instance__state__in=ended).count()
    if count:
        text = ngettext(
            "%(count)s job that has ended used it.",
            "%(count)s jobs that have ended used it.",
            count,
        )
        found.append(text % {"count": count})


events.subscribe(events.DATASET_DELETING, dataset_keep)
events.subscribe(events.DATASET_USED, dataset_used)
log_kept_by(kept_log_response)
beat.every(15, "training.runs_review")
beat.every(HOLD_EVERY_S, "training.weights_hold")
