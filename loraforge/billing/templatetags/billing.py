"""Amounts and GPU-hours in templates."""

from decimal import Decimal

from django import template

from loraforge.billing import policy
from loraforge.billing.texts import money_said

register = template.Library()


@register.filter
def in_currency(amount: Decimal, currency: str) -> str:
    """``1,204.50 CNY``."""
    return money_said(amount, currency)


@register.filter
def price_of(amount: Decimal) -> str:
    """A price without needless zeros: ``12.5``."""
    return f"{amount.normalize():,f}"


@register.filter
def gpu_hours(seconds: int) -> str:
    """``1,204.25``."""
    return f"{policy.hours_of(seconds):,f}"
