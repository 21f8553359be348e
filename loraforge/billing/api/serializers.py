from typing import Any

from rest_framework import serializers

from loraforge.billing.models import AT_LIMIT, LedgerLine
from loraforge.billing.selectors import Estimate
from loraforge.billing.texts import estimate_said

BY = (("user", "user"), ("group", "group"))


class UsageQuery(serializers.Serializer[Any]):
    month = serializers.CharField(required=False, max_length=7, help_text="Like 2026-11; else all.")
    user = serializers.CharField(required=False, max_length=150, help_text="A user name.")
    group = serializers.CharField(required=False, max_length=150, help_text="A group's name.")


class TotalsQuery(UsageQuery):
    by = serializers.ChoiceField(choices=BY, default="user", help_text="Sums of people or groups.")


class TotalOutput(serializers.Serializer[Any]):
    """A statement's sum: the sum of its lines in the ledger, to the coin."""

    month = serializers.CharField()
    user = serializers.CharField(allow_null=True)
    group = serializers.CharField(allow_null=True)
    currency = serializers.CharField()
    amount = serializers.CharField(help_text="A decimal number.")
    gpu_seconds = serializers.IntegerField()
    gpu_hours = serializers.CharField(
        help_text="Rounded to two digits; the seconds are what counts."
    )
    lines = serializers.IntegerField()
    jobs = serializers.IntegerField()


class LineOutput(serializers.ModelSerializer[LedgerLine]):
    """GPUs that an attempt held at one price within one month."""

    user = serializers.CharField(source="owner.username")
    job = serializers.IntegerField(source="attempt.instance_id")
    job_name = serializers.CharField(source="attempt.instance.name")
    attempt = serializers.IntegerField(source="attempt.number")
    node = serializers.CharField(source="node_name")
    price_per_gpu_hour = serializers.CharField(source="per_hour")
    takes_back = serializers.IntegerField(source="corrects_id", allow_null=True)

    class Meta:
        model = LedgerLine
        fields = (
            "id", "month", "user", "job", "job_name", "attempt", "node", "gpu_model", "began", "ended",
            "gpus", "gpu_seconds", "price_per_gpu_hour", "amount", "currency", "takes_back", "note",
        )  # fmt: skip
        read_only_fields = fields


class BudgetOutput(serializers.Serializer[Any]):
    """One's own budget, or that of a group that one is in, and what of it is used in this month."""

    of = serializers.CharField(source="budget", help_text="The person's or the group's name.")
    month = serializers.CharField()
    money = serializers.CharField(source="budget.money", allow_null=True)
    gpu_hours = serializers.CharField(source="budget.gpu_hours", allow_null=True)
    warn_percent = serializers.IntegerField(source="budget.warn_percent")
    at_limit = serializers.ChoiceField(
        source="budget.at_limit", choices=[(value, value) for value, _label in AT_LIMIT]
    )
    used_money = serializers.CharField(source="money_used")
    used_gpu_seconds = serializers.IntegerField(source="used.gpu_seconds")
    percent = serializers.IntegerField()


class EstimateOutput(serializers.Serializer[Any]):
    """Least and most, over the devices that it may get. Amounts are decimal numbers."""

    currency = serializers.CharField()
    per_hour_least = serializers.CharField()
    per_hour_most = serializers.CharField()
    run_s = serializers.IntegerField(help_text="Its longest run in seconds; 0 = without limit.")
    total_least = serializers.CharField(allow_null=True, help_text="null without a longest run.")
    total_most = serializers.CharField(allow_null=True)
    text = serializers.SerializerMethodField()

    def get_text(self, estimate: Estimate) -> str:
        """In the reader's language."""
        return estimate_said(estimate)


class CostOutput(serializers.Serializer[Any]):
    """So far, over all attempts; what runs is counted until now. Amounts are decimal numbers."""

    amount = serializers.CharField()
    currency = serializers.CharField()
    gpu_seconds = serializers.IntegerField()
    per_hour = serializers.CharField(
        allow_null=True, help_text="What it costs now; null: nothing runs."
    )
