"""Statements: sums of the ledger's lines by month and person or group, and the lines behind them."""

import csv
import io
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Literal

from django.db.models import Count, QuerySet, Sum
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.models import User
from loraforge.billing import policy, selectors
from loraforge.billing.models import LedgerLine
from loraforge.core.errors import Invalid

By = Literal["user", "group"]
_NAMES: dict[str, str] = {"user": "owner__username", "group": "shares__group__name"}
CSV_HEAD = (
    "month", "line", "takes_back", "owner", "groups", "job", "job_name", "attempt", "node",
    "gpu_model", "began", "ended", "gpus", "gpu_seconds", "price_per_gpu_hour", "amount", "currency",
)  # fmt: skip
# A spreadsheet would take what begins so for a formula.
_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "\uff1d",
    "\uff0b",
    "\uff0d",
    "\uff20",
)  # wide ones too


def month_check(month: str) -> str:
    """The month as it stands in the ledger. Raises Invalid for what is none."""
    try:
        first, _following = policy.month_days(month)
    except ValueError as error:
        text = _("Give a month like 2026-11.")
        raise Invalid("billing:bad_month", text, fields={"month": [text]}) from error
    return first.isoformat()[:7]


def line_list(
    *, user: User, month: str = "", owner: str = "", group: str = ""
) -> QuerySet[LedgerLine]:
    """The ledger's lines that the user may see, newest first. owner, group: names; "" = all."""
    rows = access.visible(user, LedgerLine.objects.all())
    if month:
        rows = rows.filter(month=month_check(month))
    if owner:
        rows = rows.filter(owner__username=owner)
    if group:
        rows = rows.filter(shares__group__name=group)
    return rows.select_related("owner", "attempt__instance").order_by("-id")


def total_list(
    *, user: User, by: By = "user", month: str = "", owner: str = "", group: str = ""
) -> QuerySet[Any, dict[str, Any]]:
    """Statements: one row for each month, person (or group) and currency, newest month first."""
    name = _NAMES[by]
    rows = line_list(user=user, month=month, owner=owner, group=group).select_related(None)
    if by == "group" and not group:
        rows = rows.filter(shares__isnull=False)
    found: QuerySet[Any, dict[str, Any]] = (
        rows.order_by()
        .values("month", "currency", name)
        .annotate(
            total=Sum("amount"),
            total_gpu_seconds=Sum("gpu_seconds"),
            lines=Count("pk"),
            jobs=Count("attempt__instance", distinct=True),
        )
        .order_by("-month", name, "currency")
    )
    return found


def total_plain(row: dict[str, Any], *, by: By) -> dict[str, Any]:
    """A row of `total_list` as pages and API show it."""
    return {
        "month": row["month"],
        "user": row[_NAMES[by]] if by == "user" else None,
        "group": row[_NAMES[by]] if by == "group" else None,
        "currency": row["currency"],
        "amount": policy.rounded(row["total"], digits=policy.digits_of(row["currency"])),
        "gpu_seconds": row["total_gpu_seconds"],
        "gpu_hours": policy.hours_of(row["total_gpu_seconds"]),
        "lines": row["lines"],
        "jobs": row["jobs"],
    }


def _plain_text(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _local(moment: datetime) -> str:
    return moment.astimezone(selectors.zone()).isoformat()


def _csv_row(line: LedgerLine) -> tuple[Any, ...]:
    instance = line.attempt.instance
    groups = "; ".join(share.group.name for share in line.shares.all())
    digits = policy.digits_of(line.currency)
    return (
        line.month, line.pk, line.corrects_id or "", _plain_text(line.owner.username),
        _plain_text(groups), instance.pk, _plain_text(instance.name), line.attempt.number,
        line.node_name, _plain_text(line.gpu_model), _local(line.began), _local(line.ended),
        line.gpus, line.gpu_seconds, f"{line.per_hour:f}",
        f"{policy.rounded(line.amount, digits=digits):f}", line.currency,
    )  # fmt: skip


def statement_csv(rows: QuerySet[LedgerLine]) -> Iterator[str]:
    """The lines of `line_list`, oldest first, as CSV (RFC 4180); times are those of the billing zone."""
    lines = rows.order_by("id").prefetch_related("shares__group")
    yield _csv(CSV_HEAD)
    for line in lines.iterator(chunk_size=1000):
        yield _csv(_csv_row(line))


def _csv(cells: tuple[Any, ...]) -> str:
    written = io.StringIO()
    csv.writer(written).writerow(cells)
    return written.getvalue()
