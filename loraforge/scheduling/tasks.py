from loraforge.core import outbox
from loraforge.core.celery import control_task
from loraforge.scheduling.hints import Gathered
from loraforge.scheduling.queueing import PLACE_TASK
from loraforge.scheduling.services import instances_place

# A decision about a long queue takes a moment: a burst of submits would keep all threads of the worker waiting for
# its lock, and what was placed would start when the last of the burst is decided.
_placing = Gathered(work=instances_place, again=lambda: outbox.task_enqueue(PLACE_TASK))


@control_task(PLACE_TASK)
def instances_place_task() -> None:
    """Place what waits. A hint: it may come late, twice or not at all."""
    _placing.hint()
