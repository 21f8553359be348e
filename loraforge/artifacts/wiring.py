"""Whose the rows of this app are, and what it does when instances go; imported by AppConfig.ready()."""

from loraforge.accounts import access
from loraforge.artifacts import keeping
from loraforge.artifacts.models import OutputFile
from loraforge.artifacts.removals import instance_deleted
from loraforge.core import beat, events
from loraforge.instances.models import Instance

access.register(
    OutputFile,
    access.Ownership(
        owner="attempt__instance__owner",
        anchor="attempt__instance",
        anchor_model=Instance,
        share_permission="download_instance",
    ),
)
events.subscribe(events.INSTANCE_DELETED, instance_deleted)
events.subscribe(events.INSTANCE_DELETED, keeping.instance_deleted)
events.subscribe(events.INSTANCE_MOVED, keeping.instance_moved)
beat.every(10, "artifacts.results_sweep")
beat.every(60, "artifacts.retention_sweep")
