"""What this app tells lower floors at the start."""

from loraforge.accounts.ownership import Ownership, register
from loraforge.core import events
from loraforge.notifications.models import Notification
from loraforge.notifications.services import instance_moved

register(Notification, Ownership(owner="user"))
events.subscribe(events.INSTANCE_MOVED, instance_moved)
