"""Whose the rows of this app are, and when it looks; imported by AppConfig.ready()."""

from loraforge.accounts import access
from loraforge.billing.models import LedgerLine
from loraforge.billing.services import instance_moved
from loraforge.core import beat, events

access.register(LedgerLine, access.Ownership(owner="owner"))
events.subscribe(events.INSTANCE_MOVED, instance_moved)
# Only the net under the events, and the turn of the month.
beat.every(60, "billing.ledger_fill")
beat.every(30, "billing.budgets_review")
