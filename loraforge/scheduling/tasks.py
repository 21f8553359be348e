from loraforge.core.celery import control_task
from loraforge.scheduling.services import instances_place


@control_task("scheduling.instances_place")
def instances_place_task() -> None:
    """Place what waits. A hint: it may come late, twice or not at all."""
    instances_place()
