"""Work on output files that talks to nodes; each is one short HTTP request with a deadline."""

from loraforge.artifacts.services import best_checkpoint_read
from loraforge.core.celery import control_task
from loraforge.instances.models import Attempt


@control_task("artifacts.best_checkpoint_read")
def best_checkpoint_read_task(*, attempt_id: int) -> None:
    """See `services.best_checkpoint_read`."""
    attempt = Attempt.objects.select_related("node").filter(pk=attempt_id).first()
    if attempt is not None:
        best_checkpoint_read(attempt=attempt)
