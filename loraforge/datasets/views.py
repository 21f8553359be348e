"""Pages of datasets. Uploads, deletion and verdicts go through the API; these pages show what there is."""

from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Page
from loraforge.accounts.models import User
from loraforge.core.texts import number_read
from loraforge.datasets import presenting, problems, quota, selectors, shares
from loraforge.datasets.columns import TARGETS
from loraforge.datasets.models import Dataset, DatasetState

PAGE_SIZE = 50
PREVIEW_ROWS = 10


def _number(text: str) -> int:
    """A row's number as somebody typed it, from 1; 1 for what is none."""
    return max(1, number_read(text) or 1)


class DatasetListPage(Page):
    """What one may train on, newest first; uploads on top."""

    template_name = "datasets/dataset_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query = self.request.GET.get("q", "").strip()[:200]
        rows = selectors.dataset_list(user=self.request.user)
        if query:
            rows = rows.filter(name__icontains=query)
        page = Paginator(rows, PAGE_SIZE).get_page(self.request.GET.get("page"))
        user = self.request.user
        assert isinstance(user, User)  # noqa: S101 - Page lets nobody else in
        room = {"used": quota.used_bytes(user=user), "limit": quota.limit_bytes(user=user)}
        return super().get_context_data(q=query, page=page, room=room, **kwargs)

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
        may_change = access.allowed(user, Action.CHANGE, dataset)
        may_share = access.allowed(user, Action.SHARE, dataset)
        has_bytes = dataset.kind == Dataset.Kind.UPLOADED and bool(dataset.storage_name)
        shows_columns = may_change and may_read and has_bytes and bool(dataset.column_names)
        return super().get_context_data(
            dataset=dataset,
            errors=problems.texts_of_errors(dataset.errors),
            notes=[problems.text_of(note) for note in dataset.notes],
            may_read=may_read,
            may_change=may_change,
            is_ready=dataset.state == DatasetState.READY,
            uses=presenting.uses_of(dataset),
            statistics=presenting.statistics_of(dataset),
            columns=presenting.columns_of(dataset) if shows_columns else [],
            targets=TARGETS,
            used=selectors.dataset_uses(dataset=dataset) if may_change else [],
            holders=shares.dataset_holders(user=user, dataset=dataset) if may_share else [],
            may_share=may_share,
            versions=selectors.dataset_versions(user=user, dataset=dataset),
            **self._rows(user, dataset, may_read=may_read),
            **kwargs,
        )

    def _rows(self, user: User, dataset: Dataset, *, may_read: bool) -> dict[str, Any]:
        """Some rows from a number on; of one that cannot be used those that the check has noted."""
        if not may_read or dataset.kind != Dataset.Kind.UPLOADED:
            return {"rows": []}
        is_ready = dataset.state == DatasetState.READY and bool(dataset.index_name)
        number = min(_number(self.request.GET.get("row", "")), max(1, dataset.rows))
        if is_ready:
            found = selectors.dataset_rows(
                user=user, dataset=dataset, offset=number - 1, limit=PREVIEW_ROWS
            )
        else:
            number, found = 1, dataset.preview[:PREVIEW_ROWS]
        last = number + len(found) - 1
        return {
            "rows": [
                {"number": place, "row": row, "turns": presenting.turns_of(row)}
                for place, row in enumerate(found, start=number)
            ],
            "is_paged": is_ready and dataset.rows > PREVIEW_ROWS,
            "row_first": number,
            "row_last": last,
            "row_before": max(1, number - PREVIEW_ROWS) if number > 1 else None,
            "row_next": last + 1 if is_ready and last < dataset.rows else None,
        }
