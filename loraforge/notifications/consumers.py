"""The websocket of one user: notices, and the states of own jobs."""

import asyncio
from collections.abc import AsyncGenerator

from loraforge.accounts.consumers import SocketConsumer
from loraforge.accounts.models import User
from loraforge.core import live
from loraforge.core.fanout import RESYNC, Frame, fanout


class UserFeed:
    """Frames of the user's own topic; what was missed stands in `notifications/`."""

    def __init__(self, *, user: User) -> None:
        self.behind = asyncio.Event()
        self._topic = live.topic_user(user.pk)

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Each as it comes."""
        async with fanout().subscribe(self._topic, behind=self.behind) as subscriber:
            while (frame := await subscriber.next()) is not None:
                if frame.kind != RESYNC:
                    yield frame


class MeConsumer(SocketConsumer):
    """``/ws/me/``."""

    def feed_get(self, *, user: User) -> UserFeed:
        """One's own only."""
        return UserFeed(user=user)
