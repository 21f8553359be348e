"""Amounts and GPU-hours in templates."""

from decimal import Decimal

from django import template

from loraforge.billing import policy
from loraforge.billing.texts import money_said

register = template.Library()

CENTS = 2  # digits


@register.filter
def in_currency(amount: Decimal, currency: str) -> str:
    """``1,204.50 CNY``."""
    return money_said(amount, currency)


@register.filter
def price_of(amount: Decimal) -> str:
    """A price of a GPU-hour, with more than cents only where it has them: ``12.50``, ``0.125``."""
    exact = amount.normalize()
    exponent = exact.as_tuple().exponent
    finer = isinstance(exponent, int) and -exponent > CENTS
    return f"{exact:,f}" if finer else f"{amount:,.{CENTS}f}"


@register.filter
def plainly(amount: Decimal) -> str:
    """A number without needless zeros: ``200``."""
    return f"{amount.normalize():,f}"


@register.filter
def gpu_hours(seconds: int) -> str:
    """``1,204.25``."""
    return f"{policy.hours_of(seconds):,f}"
