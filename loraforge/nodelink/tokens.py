"""Keys and tokens of a node's file service. Keys are derived, never stored."""

import hashlib
import hmac

from django.conf import settings

from loraforge.nodes.models import Node
from nodeagent.contract.filetokens import MAX_AGE_S, token_sign


def file_key(node: Node) -> bytes:
    """The 32 bytes that sign and verify this node's file tokens.

    Bound to the node's token: a renewed token (a node that was compromised) changes the key too.
    """
    claims = f"loraforge.nodelink.file:{node.name}:{node.token_digest}".encode()
    return hmac.new(settings.SECRET_KEY.encode(), claims, hashlib.sha256).digest()


def file_token(*, node: Node, method: str, path: str, user: str, age_s: int = MAX_AGE_S) -> str:
    """A token for exactly this method and decoded path of the node's file service."""
    return token_sign(key=file_key(node), method=method, path=path, user=user, age_s=age_s)
