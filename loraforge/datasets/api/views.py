"""Datasets; the state of uploads (their bytes go through `datasets.tus`); inputs for node agents."""

from typing import Any, ClassVar
from uuid import UUID

import django_filters
from django.core.files.storage import default_storage
from django.db.models import QuerySet
from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_view
from rest_framework import status
from rest_framework.decorators import action
from rest_framework.exceptions import NotAuthenticated
from rest_framework.mixins import ListModelMixin, RetrieveModelMixin
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, Viewset, signed_in
from loraforge.datasets import selectors, services
from loraforge.datasets.api import serializers
from loraforge.datasets.checking import check_start_if_due
from loraforge.datasets.models import Dataset, DatasetState, Upload
from loraforge.datasets.streaming import file_response
from loraforge.nodes.authentication import NodeOnly, NodeTokenAuthentication
from loraforge.nodes.models import Node


class DatasetFilter(django_filters.FilterSet):
    """``?state=ready&kind=uploaded&search=text``; code files are listed for ``kind=code`` alone."""

    state = django_filters.ChoiceFilter(choices=DatasetState.choices)
    kind = django_filters.ChoiceFilter(choices=Dataset.Kind.choices)
    search = django_filters.CharFilter(field_name="name", lookup_expr="icontains")

    def filter_queryset(self, queryset: QuerySet[Dataset]) -> QuerySet[Dataset]:
        """Rows and code are two things to people, kept as one."""
        found: QuerySet[Dataset] = super().filter_queryset(queryset)
        return found if self.form.cleaned_data["kind"] else found.exclude(kind=Dataset.Kind.CODE)

    class Meta:
        model = Dataset
        fields: ClassVar[list[str]] = []


def _stored_response(request: Request, dataset: Dataset) -> HttpResponseBase:
    """The dataset's bytes, with Range and ETag."""
    return file_response(
        request,
        default_storage.open(dataset.storage_name, "rb"),
        size=dataset.size_bytes,
        etag=f'"{dataset.sha256}"',
        filename=dataset.filename,
    )


class DatasetViewset(ListModelMixin, RetrieveModelMixin, Viewset):
    """Datasets that the asker owns or that were shared; uploads become one through `uploads/`."""

    queryset = Dataset.objects.filter(deleted_at=None).select_related("owner")
    serializer_class = serializers.DatasetSerializer
    filterset_class = DatasetFilter
    lookup_value_regex = "[0-9]+"
    needs: ClassVar[dict[str, Action | None]] = {
        "list": None,
        "retrieve": Action.VIEW,
        "create": Action.CREATE,
        "destroy": Action.CHANGE,
        "rows": Action.DOWNLOAD,
        "download": Action.DOWNLOAD,
        "columns": Action.CHANGE,
    }

    @extend_schema(
        request=serializers.RemoteDatasetSerializer, responses={201: serializers.DatasetSerializer}
    )
    def create(self, request: Request) -> Response:
        """Name a remote dataset. Files are uploaded at `uploads/` (tus 1.0)."""
        given = serializers.RemoteDatasetSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        dataset = services.dataset_create_remote(actor=signed_in(request), **given.validated_data)
        return Response(serializers.DatasetSerializer(dataset).data, status=status.HTTP_201_CREATED)

    def destroy(self, request: Request, pk: str) -> Response:
        """Delete the dataset and its bytes. 409 while a job that has not ended uses it."""
        services.dataset_delete(actor=signed_in(request), dataset=self.get_object())
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(
        parameters=[serializers.RowsQuerySerializer],
        responses=serializers.RowsSerializer,
        filters=False,
    )
    @action(detail=True, methods=["get"], pagination_class=None)
    def rows(self, request: Request, pk: str) -> Response:
        """Some rows, cut to fit on a page."""
        wanted = serializers.RowsQuerySerializer(data=request.query_params)
        wanted.is_valid(raise_exception=True)
        dataset = self.get_object()
        found = selectors.dataset_rows(
            user=signed_in(request), dataset=dataset, **wanted.validated_data
        )
        answer = {"offset": wanted.validated_data["offset"], "count": dataset.rows, "rows": found}
        return Response(serializers.RowsSerializer(answer).data)

    @extend_schema(
        request=serializers.ColumnsSerializer,
        responses={202: serializers.UploadSerializer},
        filters=False,
    )
    @action(detail=True, methods=["post"], pagination_class=None)
    def columns(self, request: Request, pk: str) -> Response:
        """Say which column is what; the rows are checked anew. The upload says how far that is."""
        dataset = self.get_object()
        given = serializers.ColumnsSerializer(data=request.data)
        given.is_valid(raise_exception=True)
        upload = services.dataset_columns_set(
            actor=signed_in(request), dataset=dataset, **given.validated_data
        )
        check_start_if_due(upload)
        return Response(serializers.UploadSerializer(upload).data, status=202)

    @extend_schema(
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY}, filters=False
    )
    @action(detail=True, methods=["get"])
    def download(self, request: Request, pk: str) -> HttpResponseBase:
        """The file as it was uploaded; Range and If-Range resume."""
        dataset = self.get_object()
        selectors.require_bytes(dataset)
        return _stored_response(request, dataset)


@extend_schema_view(
    list=extend_schema(description="Own uploads that are no dataset yet, newest first."),
    retrieve=extend_schema(description="An own upload; `dataset` is set once it is checked."),
)
class UploadViewset(ListModelMixin, Viewset):
    """Own uploads, so that a page that was reloaded can resume them. Their bytes go by tus 1.0."""

    queryset = Upload.objects.all()
    serializer_class = serializers.UploadSerializer
    filter_backends = ()
    lookup_value_regex = "[0-9a-fA-F-]{32,36}"
    needs: ClassVar[dict[str, Action | None]] = {"list": None, "retrieve": None}

    def get_queryset(self) -> Any:
        """Only one's own, whatever the role."""
        if getattr(self, "swagger_fake_view", False):
            return Upload.objects.none()
        return selectors.upload_list(user=signed_in(self.request))

    def retrieve(self, request: Request, pk: UUID) -> Response:
        """One upload; a complete one that nobody checks is checked now."""
        upload = selectors.upload_get(user=signed_in(request), upload_id=pk)
        check_start_if_due(upload)
        return Response(serializers.UploadSerializer(upload).data)


class AgentInputEndpoint(Endpoint):
    """A dataset for the node that a start command was made for."""

    authentication_classes = (NodeTokenAuthentication,)
    permission_classes = (NodeOnly,)
    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(exclude=True)
    def get(self, request: Request, signed: str) -> HttpResponseBase:
        if not isinstance(request.auth, Node):
            raise NotAuthenticated
        dataset = selectors.dataset_for_node(node=request.auth, signed=signed)
        return _stored_response(request, dataset)
