"""Periodic work on uploads and datasets; SQL remembers what is to be done."""

from loraforge.core.celery import control_task
from loraforge.datasets.checking import checks_resume
from loraforge.datasets.services import datasets_sweep
from loraforge.datasets.uploads import uploads_expire


@control_task("datasets.uploads_sweep")
def uploads_sweep_task() -> None:
    """Remove what expired, and have checked what a crash left unchecked."""
    uploads_expire()
    datasets_sweep()
    checks_resume()
