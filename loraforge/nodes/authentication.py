"""How a node agent proves which node it is: ``Authorization: Bearer lfn_...``."""

from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.views import APIView

from loraforge.nodes.models import Node
from loraforge.nodes.selectors import TOKEN_PREFIX, node_authenticate


class NodePrincipal:
    """Stands where a user stands in a request of a node agent; no role, so no right of a person."""

    is_authenticated = True
    is_active = True
    is_anonymous = False
    pk = None

    def __init__(self, node: Node) -> None:
        self.node = node

    def __str__(self) -> str:
        return f"node {self.node.name}"


class NodeTokenAuthentication(BaseAuthentication):
    """Accepts a node's token only; `request.auth` is the node."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[NodePrincipal, Node] | None:
        """Raises AuthenticationFailed for a wrong token; None when there is no node token at all."""
        header = get_authorization_header(request).decode("latin-1")
        scheme, _blank, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text.startswith(TOKEN_PREFIX):
            return None
        node = node_authenticate(text)
        if node is None:
            raise AuthenticationFailed(
                _("This node token is wrong. Make a new one with `manage.py node_add`.")
            )
        return NodePrincipal(node), node

    def authenticate_header(self, request: Request) -> str:
        """So that a refusal is 401, not 403."""
        return self.keyword


class NodeOnly(BasePermission):
    """For addresses that only node agents may use."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """A node's token was given, and was right."""
        return isinstance(request.auth, Node)
