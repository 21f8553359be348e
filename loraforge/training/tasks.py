from loraforge.core.celery import control_task
from loraforge.training.overtime import runs_review
from loraforge.training.weights import weights_hold_waiting


@control_task("training.runs_review")
def runs_review_task() -> None:
    """Stop jobs that have run for as long as they may. A hint: it may come late, twice or not at all."""
    runs_review()


@control_task("training.weights_hold")
def weights_hold_task() -> None:
    """Keep the weights that waiting jobs are to begin with. A hint as well."""
    weights_hold_waiting()
