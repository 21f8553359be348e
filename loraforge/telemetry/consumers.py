"""Websockets of one job and of all nodes."""

import asyncio
from collections.abc import AsyncGenerator
from urllib.parse import parse_qs

from loraforge.accounts.consumers import SocketConsumer
from loraforge.accounts.models import User
from loraforge.core import live
from loraforge.core.fanout import RESYNC, Frame, fanout
from loraforge.core.threads import in_thread
from loraforge.instances.selectors import instance_get
from loraforge.nodes.selectors import node_list
from loraforge.telemetry import readings, selectors
from loraforge.telemetry.feed import JobFeed

QUERY_FIELDS = 10


class JobConsumer(SocketConsumer):
    """``/ws/jobs/{id}/?log_after=&metric_after=``: the status, then what lies behind the cursors, then live.

    Without a cursor everything comes from the beginning.
    """

    def feed_get(self, *, user: User) -> JobFeed:
        """Raises NotFound for a foreign or unknown job, Invalid for a cursor that is none."""
        query = parse_qs(self.scope["query_string"].decode("latin-1"), max_num_fields=QUERY_FIELDS)
        instance = instance_get(
            user=user, instance_id=self.scope["url_route"]["kwargs"]["instance_id"]
        )
        return JobFeed(
            instance=instance,
            log_after=selectors.cursor_get(query.get("log_after", [""])[-1]),
            metric_after=selectors.cursor_get(query.get("metric_after", [""])[-1]),
        )


class NodesFeed:
    """Readings of all nodes that the user may see."""

    def __init__(self, *, user: User) -> None:
        self.behind = asyncio.Event()
        self._user = user

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """The newest readings in one frame, then each as it comes."""
        async with fanout().subscribe(live.TOPIC_NODES, behind=self.behind) as subscriber:
            yield await in_thread(self._newest)()
            while (frame := await subscriber.next()) is not None:
                yield await in_thread(self._newest)() if frame.kind == RESYNC else frame

    def _newest(self) -> Frame:
        return Frame.of(
            {"type": "gpu", "rows": readings.sample_latest(nodes=list(node_list(user=self._user)))}
        )


class NodesConsumer(SocketConsumer):
    """``/ws/nodes/``."""

    def feed_get(self, *, user: User) -> NodesFeed:
        """For everybody who is signed in."""
        return NodesFeed(user=user)
