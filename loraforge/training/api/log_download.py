"""The whole log of a job as a file: from what is stored, or from its node where the rate caps left lines out."""

from typing import ClassVar

from django.http import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint, signed_in
from loraforge.artifacts.downloads import output_file_response
from loraforge.artifacts.models import OutputFile
from loraforge.artifacts.selectors import Located
from loraforge.core.errors import Gone
from loraforge.instances.models import Attempt
from loraforge.instances.selectors import instance_get
from loraforge.telemetry import gaps, selectors
from loraforge.telemetry.api import serializers, streaming
from loraforge.telemetry.api.views import BytesRenderer
from nodeagent.contract import paths


class JobLogDownload(Endpoint):
    needs: ClassVar[dict[str, Action | None]] = {"get": None}
    renderer_classes = [JSONRenderer, BytesRenderer]

    @extend_schema(
        parameters=[serializers.DownloadQuery], responses={(200, "text/plain"): OpenApiTypes.BINARY}
    )
    def get(self, request: Request, pk: int) -> HttpResponseBase:
        """console.log of an attempt, byte for byte; Range is understood."""
        query = serializers.DownloadQuery(data=request.query_params)
        query.is_valid(raise_exception=True)
        instance = instance_get(user=request.user, instance_id=pk)
        attempt = selectors.attempt_get(
            instance=instance, number=query.validated_data.get("attempt")
        )
        kept = streaming.log_kept_response(request, attempt=attempt)
        if kept is not None:
            return kept
        if not gaps.gap_list(attempt=attempt):
            return streaming.log_response(attempt=attempt, wanted=request.headers.get("Range", ""))
        return _from_node(request, attempt)


def _from_node(request: Request, attempt: Attempt) -> HttpResponseBase:
    """Its node or the kept copy has all of it; once removed, what is stored. Raises Unavailable."""
    listed = OutputFile.objects.filter(attempt=attempt, path=paths.CONSOLE_FILE, removed_at=None)
    known = listed.select_related("copy").first() if attempt.ended_at is not None else None
    located = Located(attempt=attempt, path=paths.CONSOLE_FILE, listed=known)
    try:
        response = output_file_response(request, located=located, user=str(signed_in(request).pk))
    except Gone:
        return streaming.log_rest_response(attempt=attempt)
    response["Content-Type"] = "text/plain; charset=utf-8"
    response["Content-Disposition"] = streaming.log_disposition(attempt)
    return response
