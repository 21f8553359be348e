"""Reads of nodes. Every user may see which nodes there are; who holds a device is told elsewhere."""

from django.contrib.auth.models import AnonymousUser
from django.db.models import Prefetch, QuerySet
from django.utils.translation import gettext as _

from loraforge.accounts.models import User
from loraforge.core.errors import NotFound
from loraforge.nodes.models import Device, Node

TOKEN_PREFIX = "lfn_"  # noqa: S105 - how a token begins, not a token

Asker = User | AnonymousUser


def node_list(*, user: Asker) -> QuerySet[Node]:
    """All nodes by name, each with the devices that are there now. Nothing for who is not signed in."""
    rows = Node.objects.all() if user.is_authenticated and user.is_active else Node.objects.none()
    present = Prefetch("devices", queryset=Device.objects.filter(present=True))
    return rows.prefetch_related(present).order_by("name")


def node_get(*, user: Asker, name: str) -> Node:
    """One node by its name. Raises NotFound."""
    node = node_list(user=user).filter(name=name).first()
    if node is None:
        raise NotFound("nodes:not_found", _("There is no node named %(name)s.") % {"name": name})
    return node


def node_authenticate(token_text: str) -> Node | None:
    """The node whose token this is. Found by its digest, so comparing leaks nothing of the token."""
    if not token_text.startswith(TOKEN_PREFIX):
        return None
    return Node.objects.filter(token_digest=Node.digest_of(token_text)).first()
