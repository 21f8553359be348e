"""Addresses of websockets."""

from typing import Any

from django.urls import path, re_path

from loraforge.accounts.consumers import no_such_address
from loraforge.notifications.consumers import MeConsumer
from loraforge.telemetry.consumers import JobConsumer, NodesConsumer

_jobs: Any = JobConsumer.as_asgi()
_nodes: Any = NodesConsumer.as_asgi()
_me: Any = MeConsumer.as_asgi()
_unknown: Any = no_such_address

# Django's `path` wants a view; Channels' router takes an ASGI application in its place.
websocket_urlpatterns = [
    path("ws/jobs/<int:instance_id>/", _jobs),
    path("ws/nodes/", _nodes),
    path("ws/me/", _me),
    re_path(r"", _unknown),
]
