from django.urls import path

from loraforge.billing.api.views import Budgets, StatementCsv, Usage

urlpatterns = [
    path("usage/", Usage.as_view({"get": "list"}), name="usage"),
    path("usage/lines/", Usage.as_view({"get": "lines"}), name="usage-lines"),
    path("usage/statement.csv", StatementCsv.as_view(), name="usage-csv"),
    path("usage/budgets/", Budgets.as_view(), name="usage-budgets"),
]
