"""Pages of datasets. Uploads, deletion and verdicts go through the API; these pages show what there is."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Page
from loraforge.accounts.models import User
from loraforge.datasets import problems, selectors
from loraforge.datasets.models import Dataset, DatasetState

PAGE_SIZE = 50
PREVIEW_ROWS = 10


def _turns(row: Any) -> list[dict[str, str]]:
    """A row of the format "messages" as turns; empty for all other rows."""
    messages = row.get("messages") if isinstance(row, dict) else None
    if not isinstance(messages, list):
        return []
    return [
        {"role": str(turn.get("role", "")), "content": str(turn.get("content", ""))}
        for turn in messages
        if isinstance(turn, dict)
    ]


class DatasetListPage(Page):
    """What one may train on, newest first; uploads on top."""

    template_name = "datasets/dataset_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query = self.request.GET.get("q", "").strip()[:200]
        rows = selectors.dataset_list(user=self.request.user)
        if query:
            rows = rows.filter(name__icontains=query)
        page = Paginator(rows, PAGE_SIZE).get_page(self.request.GET.get("page"))
        return super().get_context_data(q=query, page=page, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        context = self.get_context_data(**kwargs)
        if request.headers.get("HX-Request") == "true" and not request.headers.get(
            "HX-History-Restore-Request"
        ):
            return render(request, "datasets/partials/_dataset_rows.html", context)
        return self.render_to_response(context)


class DatasetPage(Page):
    """One dataset: the verdict, errors with their lines, the first rows."""

    template_name = "datasets/dataset_detail.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - Page lets nobody else in
        dataset = selectors.dataset_get(user=user, dataset_id=self.kwargs["dataset_id"])
        may_read = access.allowed(user, Action.DOWNLOAD, dataset)
        has_rows = may_read and dataset.kind == Dataset.Kind.UPLOADED
        preview = dataset.preview[:PREVIEW_ROWS] if has_rows else []
        return super().get_context_data(
            dataset=dataset,
            errors=problems.texts_of_errors(dataset.errors),
            notes=[problems.text_of(note) for note in dataset.notes],
            rows=[
                {"number": number, "row": row, "turns": _turns(row)}
                for number, row in enumerate(preview, start=1)
            ],
            may_read=may_read,
            may_change=access.allowed(user, Action.CHANGE, dataset),
            is_ready=dataset.state == DatasetState.READY,
            **kwargs,
        )
