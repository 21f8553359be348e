"""Whose the rows of this app are; imported once by AppConfig.ready()."""

from loraforge.accounts import access
from loraforge.instances.models import Attempt, Instance, InstanceEvent

SHARE_PERMISSION = "download_instance"

OF_INSTANCE = access.Ownership(
    owner="instance__owner",
    anchor="instance",
    anchor_model=Instance,
    share_permission=SHARE_PERMISSION,
)

access.register(Instance, access.Ownership(owner="owner", share_permission=SHARE_PERMISSION))
access.register(Attempt, OF_INSTANCE)
access.register(InstanceEvent, OF_INSTANCE)
