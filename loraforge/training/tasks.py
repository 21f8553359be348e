from loraforge.core.celery import control_task
from loraforge.training.overtime import runs_review


@control_task("training.runs_review")
def runs_review_task() -> None:
    """Stop jobs that have run for as long as they may. A hint: it may come late, twice or not at all."""
    runs_review()
