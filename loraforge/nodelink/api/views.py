"""Where node agents come in."""

import time
from typing import Any, cast

import msgspec
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from loraforge.core.cluster import cluster_id
from loraforge.core.errors import Invalid
from loraforge.nodelink.redis_users import agent_redis_url
from loraforge.nodelink.tokens import file_key
from loraforge.nodes.authentication import NodeOnly, NodeTokenAuthentication
from loraforge.nodes.services import node_join
from nodeagent.contract.joining import JoinAnswer, JoinRequest


class AgentJoin(APIView):
    """A node agent says what its node is, and learns what it needs to work."""

    authentication_classes = (NodeTokenAuthentication,)
    permission_classes = (NodeOnly,)
    throttle_scope = "join"

    @extend_schema(request=OpenApiTypes.OBJECT, responses=OpenApiTypes.OBJECT)
    def post(self, request: Request) -> Response:
        try:
            wanted = msgspec.convert(request.data, JoinRequest)
        except msgspec.ValidationError as error:
            raise Invalid(
                "nodes:bad_join",
                _("The node agent's description of its node is not valid: %(error)s")
                % {"error": error},
            ) from error
        node = node_join(node=cast("Any", request.auth), request=wanted)
        answer = JoinAnswer(
            cluster=cluster_id(),
            redis_url=agent_redis_url(node),
            file_key=file_key(node).hex(),
            clock=time.time(),
        )
        return Response(msgspec.to_builtins(answer))
