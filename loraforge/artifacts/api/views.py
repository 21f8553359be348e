"""Output files of a job: list, one file with Range, a folder as zip."""

from typing import Any, ClassVar

from django.db.models import QuerySet
from django.http import HttpResponseBase
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotAuthenticated
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, signed_in
from loraforge.accounts.models import User
from loraforge.artifacts import selectors
from loraforge.artifacts.api import serializers
from loraforge.artifacts.downloads import output_file_response, output_zip_response
from loraforge.artifacts.models import OutputFile
from loraforge.artifacts.roles import checkpoint_of
from loraforge.core.errors import NotFound
from loraforge.instances.models import Instance
from loraforge.instances.selectors import instance_get
from loraforge.nodes.authentication import NodeOnly, NodeTokenAuthentication
from loraforge.nodes.models import Node


def _query(
    request: Request,
    query: type[serializers.ArtifactQuerySerializer] = serializers.ArtifactQuerySerializer,
) -> dict[str, Any]:
    given = query(data=request.query_params)
    given.is_valid(raise_exception=True)
    found: dict[str, Any] = given.validated_data
    return found


def _files(request: Request, instance: Instance, wanted: dict[str, Any]) -> QuerySet[OutputFile]:
    files = selectors.output_file_list(user=signed_in(request), instance=instance)
    if "attempt" in wanted:
        files = files.filter(attempt__number=wanted["attempt"])
    return files.filter(path__startswith=wanted["prefix"]) if wanted["prefix"] else files


class ArtifactListEndpoint(Endpoint, GenericAPIView[OutputFile]):
    """Files that a job left on its nodes."""

    queryset = OutputFile.objects.all()
    serializer_class = serializers.OutputFileSerializer
    filter_backends = ()
    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(
        parameters=[serializers.ArtifactQuerySerializer],
        responses=serializers.OutputFileSerializer(many=True),
        operation_id="jobs_artifacts_list",
    )
    def get(self, request: Request, instance_id: int) -> Response:
        """The files that a job left, newest attempt first, then by path."""
        instance = instance_get(user=signed_in(request), instance_id=instance_id)
        page = self.paginate_queryset(_files(request, instance, _query(request))) or []
        known = selectors.checkpoint_list(instance=instance)
        context = {"checkpoints": {(each.attempt, each.path): each for each in known}}
        rows = serializers.OutputFileSerializer(page, many=True, context=context).data
        return self.get_paginated_response(rows)


class ArtifactEndpoint(Endpoint):
    """One output file."""

    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(
        parameters=[serializers.ArtifactQuerySerializer],
        responses={(200, "application/octet-stream"): OpenApiTypes.BINARY},
        operation_id="jobs_artifacts_download",
    )
    def get(self, request: Request, instance_id: int, path: str) -> HttpResponseBase:
        """The file of the latest attempt that has it, or of `attempt`; Range and If-Range resume."""
        user = signed_in(request)
        instance = instance_get(user=user, instance_id=instance_id)
        located = selectors.output_file_locate(
            user=user, instance=instance, path=path, attempt=_query(request).get("attempt")
        )
        return output_file_response(request, located=located, user=str(user.pk))


class AgentInputFileEndpoint(Endpoint):
    """A file of a checkpoint for the node that a start command was made for."""

    authentication_classes = (NodeTokenAuthentication,)
    permission_classes = (NodeOnly,)
    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(exclude=True)
    def get(self, request: Request, signed: str) -> HttpResponseBase:
        """With Range; nothing is buffered on the way from another node."""
        if not isinstance(request.auth, Node):
            raise NotAuthenticated
        located = selectors.input_for_node(node=request.auth, signed=signed)
        return output_file_response(request, located=located, user=f"node-{request.auth.name}")


class ArtifactZipEndpoint(Endpoint):
    """A folder of output files."""

    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(
        parameters=[serializers.ArtifactZipQuerySerializer],
        responses={(200, "application/zip"): OpenApiTypes.BINARY},
        operation_id="jobs_artifacts_zip",
    )
    def get(self, request: Request, instance_id: int) -> HttpResponseBase:
        """All files whose path begins with `prefix`, of the latest attempt that has any; or only weights."""
        user = signed_in(request)
        instance = instance_get(user=user, instance_id=instance_id)
        access.require(user, Action.DOWNLOAD, instance)
        wanted = _query(request, serializers.ArtifactZipQuerySerializer)
        if wanted["content"] == "weights":
            return _weights_zip(user, instance, wanted)
        rows = _files(request, instance, wanted).select_related("attempt__node")
        files = list(rows.exclude(is_cut=True, attempt__ended_at=None))  # still being written
        if not files:
            raise NotFound("artifacts:not_found", _("There are no output files here."))
        newest = [file for file in files if file.attempt_id == files[0].attempt_id]
        folder = checkpoint_of(wanted["prefix"])
        name = f"job-{instance_id}-checkpoint-{folder[1]}" if folder else f"job-{instance_id}"
        return output_zip_response(files=newest, filename=f"{name}.zip", user_id=user.pk)


def _weights_zip(user: User, instance: Instance, wanted: dict[str, Any]) -> HttpResponseBase:
    found = selectors.weights_files(
        user=user, instance=instance, attempt=wanted.get("attempt"), folder=wanted["prefix"]
    )
    kind = "lora-weights" if found.is_adapter else "weights"
    return output_zip_response(
        files=found.files,
        filename=f"job-{instance.pk}-{kind}.zip",
        user_id=user.pk,
        within=found.checkpoint.path.rpartition("/")[0],
    )
