"""Starting an attempt, and what becomes of it when the command cannot even be made."""

import logging

from loraforge.core.errors import LoraForgeError, Unavailable
from loraforge.gateway import inbound
from loraforge.gateway.dispatch import start_send
from loraforge.instances.models import Attempt

log = logging.getLogger(__name__)


def attempt_start(*, instance_id: int, attempt: int) -> bool:
    """Send the start; an attempt that can never start (its dataset is gone) fails with the reason.

    Raises Unavailable when the broker does not answer; reconcile asks for it again.
    """
    try:
        return start_send(instance_id=instance_id, attempt=attempt)
    except Unavailable:
        raise
    except LoraForgeError as error:
        log.warning("attempt %d of #%d cannot start: %s", attempt, instance_id, error.message)
        row = Attempt.objects.select_related("instance").get(
            instance_id=instance_id, number=attempt
        )
        inbound.attempt_fail(attempt=row, reason=error.error_id, detail=error.message)
        return False
