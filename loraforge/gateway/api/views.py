"""Secrets of people, for the nodes that prepare their jobs."""

from typing import ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import NotAuthenticated
from rest_framework.request import Request

from loraforge.accounts.access import Action
from loraforge.accounts.entrypoints import Endpoint
from loraforge.gateway.secrets import secret_for_node
from loraforge.nodes.authentication import NodeOnly, NodeTokenAuthentication
from loraforge.nodes.models import Node


class AgentSecretEndpoint(Endpoint):
    """A secret of the owner of an attempt, for the node that the attempt is on."""

    authentication_classes = (NodeTokenAuthentication,)
    permission_classes = (NodeOnly,)
    needs: ClassVar[dict[str, Action | None]] = {"get": None}

    @extend_schema(exclude=True)
    def get(self, request: Request, signed: str) -> HttpResponse:
        if not isinstance(request.auth, Node):
            raise NotAuthenticated
        value = secret_for_node(node=request.auth, signed=signed)
        headers = {"Cache-Control": "no-store"}
        return HttpResponse(value, content_type="application/octet-stream", headers=headers)
