"""Amounts and estimates in words."""

from decimal import Decimal

from django.utils.translation import gettext as _

from loraforge.billing import policy
from loraforge.billing.selectors import Estimate


def money_said(amount: Decimal, currency: str) -> str:
    """``1,204.50 CNY``."""
    return f"{policy.rounded(amount, digits=policy.digits_of(currency)):,f} {currency}"


def _span(least: Decimal, most: Decimal, currency: str) -> str:
    if least == most:
        return money_said(least, currency)
    return f"{policy.rounded(least, digits=policy.digits_of(currency)):,f} – {money_said(most, currency)}"


def estimate_said(estimate: Estimate) -> str:
    """What a job would cost, as one line."""
    hourly = _span(estimate.per_hour_least, estimate.per_hour_most, estimate.currency)
    if estimate.total_least is None or estimate.total_most is None:
        return _("%(price)s an hour") % {"price": hourly}
    total = _span(estimate.total_least, estimate.total_most, estimate.currency)
    hours = f"{policy.hours_of(estimate.run_s).normalize():f}"
    return _("%(price)s an hour, at most %(total)s in %(hours)s h") % {
        "price": hourly,
        "total": total,
        "hours": hours,
    }
