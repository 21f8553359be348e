"""The models that SWIFT knows, to be searched; a pasted address of a hub's page finds its model."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from loraforge.dashboard.views import DashboardPage
from loraforge.modelhub.locations import Pasted, url_read
from loraforge.modelhub.selectors import model_list
from loraforge.swift.models import models_load

PAGE_SIZE = 50
QUERY_MAX = 300


class ModelListPage(DashboardPage):
    """Folders of this machine first, then every model of SWIFT's list."""

    template_name = "dashboard/model_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query = self.request.GET.get("q", "").strip()[:QUERY_MAX]
        pasted: Pasted | None = url_read(query) if query else None
        found: Any = model_list(search=pasted.model if pasted else query)
        page = Paginator(found, PAGE_SIZE).get_page(self.request.GET.get("page"))
        registry = models_load()
        return super().get_context_data(
            q=query,
            pasted=pasted,
            page=page,
            types=len(registry.model_types),
            entries=len(registry.models),
            **kwargs,
        )

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        context = self.get_context_data(**kwargs)
        if request.headers.get("HX-Request") == "true" and not request.headers.get(
            "HX-History-Restore-Request"
        ):
            return render(request, "dashboard/partials/_model_rows.html", context)
        return self.render_to_response(context)
