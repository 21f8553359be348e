from loraforge.billing.budgets import budgets_review
from loraforge.billing.services import ledger_fill
from loraforge.core.celery import control_task


@control_task("billing.ledger_fill")
def ledger_fill_task() -> None:
    """Write what no event has. A hint: it may come late, twice or not at all."""
    ledger_fill()


@control_task("billing.budgets_review")
def budgets_review_task() -> None:
    """Tell of budgets that come to their end, and stop what they say. A hint, as all of these."""
    budgets_review()
