"""Models to pick, and what belongs to one."""

from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.request import Request
from rest_framework.response import Response

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint
from loraforge.modelhub.api import serializers
from loraforge.modelhub.selectors import model_list
from loraforge.modelhub.services import model_describe


class ModelListEndpoint(Endpoint, GenericAPIView[Any]):
    """Models that can be trained."""

    serializer_class = serializers.ModelChoiceSerializer
    filter_backends = ()
    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(
        parameters=[serializers.ModelSearchSerializer],
        responses=serializers.ModelChoiceSerializer(many=True),
        operation_id="swift_models_list",
    )
    def get(self, request: Request) -> Response:
        """Folders of this machine first, then all models that SWIFT knows."""
        given = serializers.ModelSearchSerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        found: Any = model_list(search=given.validated_data["search"])
        page = self.paginate_queryset(found) or []
        return self.get_paginated_response(serializers.ModelChoiceSerializer(page, many=True).data)


class ModelDescribeEndpoint(Endpoint):
    """One model."""

    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(
        parameters=[serializers.ModelQuerySerializer],
        responses=serializers.ModelDescriptionSerializer,
        operation_id="swift_models_describe",
    )
    def get(self, request: Request) -> Response:
        """Model type and chat template of a hub id or a folder."""
        given = serializers.ModelQuerySerializer(data=request.query_params)
        given.is_valid(raise_exception=True)
        described = model_describe(**given.validated_data)
        return Response(serializers.ModelDescriptionSerializer(described).data)
