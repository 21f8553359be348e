"""Jobs: list, submit, see, change, and what people press."""

from collections.abc import Callable
from typing import Any

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers as drf
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Viewset, signed_in
from loraforge.accounts.models import User
from loraforge.accounts.sharing import share_list
from loraforge.core.columns import ColumnRows
from loraforge.instances.selectors import attempt_list, job_missing
from loraforge.training import selectors, services
from loraforge.training.api import serializers
from loraforge.training.api.filters import JobFilter
from loraforge.training.api.rows import COLUMNS, job_detail, job_rows
from loraforge.training.models import Job
from loraforge.training.resuming import checkpoints_list, job_resume

PAGING = frozenset({"page", "page_size"})
Pressed = Callable[..., Job]

_KEY = OpenApiParameter(
    name="Idempotency-Key",
    type=str,
    location=OpenApiParameter.HEADER,
    description="The same key with the same body answers with the same job (200), never a second.",
)
_FILES = OpenApiParameter(
    name="files",
    type=OpenApiTypes.BOOL,
    description="Delete its output files too. Required when it has any.",
)


class _DeleteQuery(drf.Serializer[Any]):
    files = drf.BooleanField(required=False, allow_null=True, default=None)


def body_of(request: Request, kind: type[drf.Serializer[Any]]) -> Any:
    """The checked body. Raises ValidationError with every wrong field."""
    data = kind(data=request.data)
    data.is_valid(raise_exception=True)
    return data


def answer(job: Job, user: User, *, code: int = status.HTTP_200_OK) -> Response:
    """The job as it is now."""
    fresh = selectors.job_get(user=user, job_id=job.pk)
    rows = serializers.JobDatasetOutput(fresh.job_datasets.all(), many=True).data
    return Response({**job_detail(fresh, user=user), "datasets": rows}, status=code)


class Jobs(Viewset):
    """Jobs: trainings that run, wait, or are over."""

    queryset = Job.objects.all()
    filterset_class = JobFilter
    lookup_url_kwarg = "id"
    serializer_class = serializers.JobOutput
    needs = {
        "list": None,
        "create": Action.CREATE,
        "retrieve": Action.VIEW,
        "update": Action.CHANGE,
        "partial_update": Action.CHANGE,
        "destroy": Action.CHANGE,
        "attempts": Action.VIEW,
        "events": Action.VIEW,
        "shares": Action.SHARE,
        "share_delete": Action.SHARE,
        "start": Action.CHANGE,
        "withdraw": Action.CHANGE,
        "stop": Action.CHANGE,
        "cancel": Action.CHANGE,
        "checkpoint": Action.CHANGE,
        "retry": Action.CHANGE,
        "resume": Action.CHANGE,
        "checkpoints": Action.VIEW,
        "clone": Action.VIEW,
    }

    def get_queryset(self) -> QuerySet[Any]:
        if getattr(self, "swagger_fake_view", False):
            return Job.objects.none()
        if self.action == "list":
            return selectors.job_instances(user=self.request.user)
        return selectors.job_list(user=self.request.user)

    def missing(self, key: str) -> Exception:
        return job_missing(key)

    @extend_schema(responses=serializers.JobRow(many=True))
    def list(self, request: Request) -> Response:
        """Jobs that the asker may see, newest first."""
        listed: Any = selectors.job_columns(user=signed_in(request), columns=COLUMNS)
        # The filters are a Django form, which costs more than the query: not for the plain list.
        if request.query_params.keys() - PAGING:
            listed = ColumnRows(self.filter_queryset(self.get_queryset()), COLUMNS)
        return self.get_paginated_response(job_rows(self.paginate_queryset(listed) or []))

    @extend_schema(
        request=serializers.JobSubmitInput,
        responses={201: serializers.JobOutput, 200: serializers.JobOutput},
        parameters=[_KEY],
    )
    def create(self, request: Request) -> Response:
        """Make a job, and queue it unless `start` is false."""
        user = signed_in(request)
        data = body_of(request, serializers.JobSubmitInput)
        job, created = services.job_submit_once(
            actor=user,
            draft=data.draft(),
            start=data.validated_data["start"],
            idempotency_key=request.headers.get("Idempotency-Key", ""),
        )
        code = status.HTTP_201_CREATED if created else status.HTTP_200_OK
        return answer(job, user, code=code)

    def retrieve(self, request: Request, **_path: Any) -> Response:
        """One job with its settings."""
        return answer(self.get_object(), signed_in(request))

    @extend_schema(request=serializers.JobInput)
    def update(self, request: Request, **_path: Any) -> Response:
        """Replace all settings of a job that was never started."""
        job, user = self.get_object(), signed_in(request)
        draft = body_of(request, serializers.JobInput).draft()
        return answer(services.job_draft_update(actor=user, job=job, draft=draft), user)

    @extend_schema(request=serializers.JobPatchInput)
    def partial_update(self, request: Request, **_path: Any) -> Response:
        """Change what may change at any time."""
        job, user = self.get_object(), signed_in(request)
        changes = body_of(request, serializers.JobPatchInput).validated_data
        return answer(services.job_update(actor=user, job=job, **changes), user)

    @extend_schema(parameters=[_FILES], responses={204: None})
    def destroy(self, request: Request, **_path: Any) -> Response:
        """Delete a job that has ended or was never started."""
        job = self.get_object()
        query = _DeleteQuery(data={k: v for k, v in request.query_params.items() if k == "files"})
        query.is_valid(raise_exception=True)
        services.job_delete(actor=signed_in(request), job=job, **query.validated_data)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _paged(
        self, rows: QuerySet[Any], kind: type[drf.Serializer[Any]], **context: Any
    ) -> Response:
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(kind(page, many=True, context=context).data)

    @extend_schema(responses=serializers.AttemptOutput(many=True), filters=False)
    @action(detail=True)
    def attempts(self, request: Request, **_path: Any) -> Response:
        """Every start of it, first to last."""
        job = self.get_object()
        rows = attempt_list(instance=job.instance)
        return self._paged(rows, serializers.AttemptOutput, launched=job.launched)

    @extend_schema(responses=serializers.EventOutput(many=True), filters=False)
    @action(detail=True)
    def events(self, request: Request, **_path: Any) -> Response:
        """Every change of state, first to last."""
        rows = selectors.job_events(job=self.get_object())
        return self._paged(rows, serializers.EventOutput)

    @extend_schema(methods=["get"], responses=serializers.ShareOutput(many=True), filters=False)
    @extend_schema(
        methods=["post"],
        request=serializers.ShareInput,
        responses={201: serializers.ShareOutput},
    )
    @action(detail=True, methods=["get", "post"])
    def shares(self, request: Request, **_path: Any) -> Response:
        """Who else may see it and download its files. Only the owner shares."""
        job, user = self.get_object(), signed_in(request)
        if request.method == "POST":
            name = body_of(request, serializers.ShareInput).validated_data["user"]
            person = services.job_share(actor=user, job=job, username=name)
            code = status.HTTP_201_CREATED
            return Response(serializers.ShareOutput(person).data, status=code)
        rows = share_list(user=user, row=job.instance, codename=services.SHARE)
        return self._paged(rows, serializers.ShareOutput)

    @extend_schema(
        parameters=[OpenApiParameter("username", str, OpenApiParameter.PATH)],
        responses={204: None},
    )
    @action(detail=True, methods=["delete"])
    def share_delete(self, request: Request, username: str, **_path: Any) -> Response:
        """Take a share back."""
        job = self.get_object()
        services.job_unshare(actor=signed_in(request), job=job, username=username)
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _press(self, request: Request, service: Pressed, code: int = 200) -> Response:
        user = signed_in(request)
        return answer(service(actor=user, job=self.get_object()), user, code=code)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def start(self, request: Request, **_path: Any) -> Response:
        """Queue it. A draft is checked once more."""
        return self._press(request, services.job_start)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def withdraw(self, request: Request, **_path: Any) -> Response:
        """Take it out of the queue, back to a draft."""
        return self._press(request, services.job_withdraw)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def stop(self, request: Request, **_path: Any) -> Response:
        """Save a checkpoint, then stop."""
        return self._press(request, services.job_stop)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, **_path: Any) -> Response:
        """Stop now, without saving."""
        return self._press(request, services.job_cancel)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def checkpoint(self, request: Request, **_path: Any) -> Response:
        """Save a checkpoint and go on."""
        return self._press(request, services.job_checkpoint)

    @extend_schema(request=None)
    @action(detail=True, methods=["post"])
    def retry(self, request: Request, **_path: Any) -> Response:
        """The next attempt, from the start, nothing changed."""
        return self._press(request, services.job_retry)

    @extend_schema(request=serializers.ResumeInput)
    @action(detail=True, methods=["post"])
    def resume(self, request: Request, **_path: Any) -> Response:
        """The next attempt, the same command, from a checkpoint on."""
        user, job = signed_in(request), self.get_object()
        given = body_of(request, serializers.ResumeInput).validated_data
        return answer(job_resume(actor=user, job=job, **given), user)

    @extend_schema(responses=serializers.CheckpointOutput(many=True), filters=False)
    @action(detail=True)
    def checkpoints(self, request: Request, **_path: Any) -> Response:
        """What it can be resumed from, newest first; also what is not complete, and why."""
        rows = checkpoints_list(user=signed_in(request), job=self.get_object())
        page = self.paginate_queryset(rows)
        return self.get_paginated_response(serializers.CheckpointOutput(page, many=True).data)

    @extend_schema(request=None, responses={201: serializers.JobOutput})
    @action(detail=True, methods=["post"])
    def clone(self, request: Request, **_path: Any) -> Response:
        """A draft of one's own with the same settings."""
        return self._press(request, services.job_clone, status.HTTP_201_CREATED)
