"""What GPU time has cost: sums, the ledger's lines, CSV, budgets."""

from typing import Any

from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer

from loraforge.accounts.entrypoints import Endpoint, Viewset, signed_in
from loraforge.billing import budgets, statements
from loraforge.billing.api import serializers
from loraforge.billing.models import LedgerLine


def _asked(request: Request, kind: type[Serializer[Any]]) -> dict[str, Any]:
    """The checked query, with names as the selectors have them. Raises ValidationError."""
    query = kind(data=request.query_params)
    query.is_valid(raise_exception=True)
    found = dict(query.validated_data)
    if "user" in found:
        found["owner"] = found.pop("user")
    return found


class Usage(Viewset):
    """The ledger, as far as one may see it: one's own lines, operators all."""

    queryset = LedgerLine.objects.all()
    serializer_class = serializers.LineOutput
    filter_backends = ()
    needs = {"list": None, "lines": None}

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return LedgerLine.objects.none()
        asked = _asked(self.request, serializers.UsageQuery)
        return statements.line_list(user=signed_in(self.request), **asked)

    @extend_schema(
        parameters=[serializers.TotalsQuery], responses=serializers.TotalOutput(many=True)
    )
    def list(self, request: Request) -> Response:
        """Statements: a sum for each month, person (or group) and currency, newest month first."""
        asked = _asked(request, serializers.TotalsQuery)
        rows = statements.total_list(user=signed_in(request), **asked)
        page = self.paginate_queryset(rows) or []
        plain = [statements.total_plain(row, by=asked["by"]) for row in page]
        return self.get_paginated_response(serializers.TotalOutput(plain, many=True).data)

    @extend_schema(parameters=[serializers.UsageQuery], responses=serializers.LineOutput(many=True))
    def lines(self, request: Request) -> Response:
        """The ledger's lines behind the sums, newest first."""
        page = self.paginate_queryset(self.get_queryset())
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


class StatementCsv(Endpoint):
    """The same lines, oldest first, as a file."""

    needs = {"get": None}

    @extend_schema(
        parameters=[serializers.UsageQuery],
        responses={(200, "text/csv"): OpenApiTypes.STR},
        operation_id="usage_statement_csv",
    )
    def get(self, request: Request) -> HttpResponse:
        asked = _asked(request, serializers.UsageQuery)
        rows = statements.line_list(user=signed_in(request), **asked)
        text = "".join(statements.statement_csv(rows))
        # Spreadsheets read UTF-8 as such only behind this mark.
        answer = HttpResponse("\ufeff" + text, content_type="text/csv; charset=utf-8")
        name = "-".join(part for part in ("usage", asked.get("month", "")) if part)
        answer["Content-Disposition"] = f'attachment; filename="{name}.csv"'
        return answer


class Budgets(Endpoint):
    """What may be used in this month."""

    needs = {"get": None}

    @extend_schema(responses=serializers.BudgetOutput(many=True))
    def get(self, request: Request) -> Response:
        own = budgets.budget_states(budgets.budgets_of(user=signed_in(request)))
        return Response(serializers.BudgetOutput(own, many=True).data)
