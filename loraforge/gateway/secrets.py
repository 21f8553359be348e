"""A person's secrets for one attempt of theirs: handed to its node, by an address for that attempt alone."""

from django.core import signing
from django.urls import reverse
from django.utils.translation import gettext as _

from loraforge.accounts.models import SecretKind
from loraforge.accounts.services import secret_open
from loraforge.core.errors import NotFound
from loraforge.instances.models import Attempt
from loraforge.nodes.models import Node

SALT = "loraforge.gateway.secret"
MAX_AGE_S = 24 * 3600  # an image and a model may have to come before


def secret_url(*, attempt: Attempt, kind: SecretKind) -> str:
    """The relative address at which this attempt's node, and no other, gets its owner's secret."""
    signed = signing.dumps({"attempt": attempt.pk, "kind": kind.value}, salt=SALT)
    return reverse("api:agent-secret", kwargs={"signed": signed})


def secret_for_node(*, node: Node, signed: str) -> str:
    """The secret behind `secret_url`, while the attempt has not ended. Raises NotFound."""
    try:
        claims = signing.loads(signed, salt=SALT, max_age=MAX_AGE_S)
    except signing.BadSignature as error:
        raise _unknown() from error
    attempts = Attempt.objects.select_related("instance__owner").filter(node=node, ended_at=None)
    attempt = attempts.filter(pk=claims["attempt"], instance__deleted_at=None).first()
    value = None
    if attempt is not None and attempt.instance.owner.is_active:
        value = secret_open(owner=attempt.instance.owner, kind=SecretKind(claims["kind"]))
    if value is None:
        raise _unknown()
    return value


def _unknown() -> NotFound:
    return NotFound("gateway:no_secret", _("There is no such secret for this node."))
