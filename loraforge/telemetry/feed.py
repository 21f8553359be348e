"""What a watcher of a job is sent, in order, without gap or repetition; websocket and SSE share it.

First what SQL has behind the reader's cursors, at the reader's pace and before subscribing, so that a long
replay fills no buffer. Then live frames, compared by position: an older one is dropped, one that begins
too late means that frames were lost, and SQL closes the gap.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from typing import Any

from loraforge.core import live
from loraforge.core.fanout import RESYNC, Frame, fanout
from loraforge.core.threads import in_thread
from loraforge.instances.models import Instance
from loraforge.telemetry import selectors
from loraforge.telemetry.policy import Cursor

log = logging.getLogger(__name__)

PAGE_LINES = 500
PAGE_ROWS = 200


class JobFeed:
    """One watcher of one job. log and metric are the cursors behind what was handed out last."""

    def __init__(self, *, instance: Instance, log_after: Cursor, metric_after: Cursor) -> None:
        self.log = log_after
        self.metric = metric_after
        self.behind = asyncio.Event()
        self._instance = instance

    async def frames(self) -> AsyncGenerator[Frame, None]:
        """Frames until the caller stops; ends by itself only when it takes them too slowly (`behind`)."""
        status = await self._status()
        yield status
        async for frame in self._fill():
            yield frame
        topic = live.topic_job(self._instance.pk)
        async with fanout().subscribe(topic, behind=self.behind) as subscriber:
            newer = await self._status()
            if newer.raw != status.raw:
                yield newer
            async for frame in self._fill():
                yield frame
            while (fresh := await subscriber.next()) is not None:
                if self._is_plain(fresh):
                    yield fresh
                else:
                    async for frame in self._around(fresh):
                        yield frame

    async def _status(self) -> Frame:
        return Frame.of(await in_thread(selectors.status_get)(instance_id=self._instance.pk))

    def _is_plain(self, frame: Frame) -> bool:
        """It can go out as it is; the reader then stands behind it."""
        if frame.kind == "log" and self._is_next(frame, self.log):
            self.log = Cursor(frame.attempt, frame.end)
        elif frame.kind == "metric" and self._is_next(frame, self.metric):
            self.metric = Cursor(frame.attempt, frame.end)
        else:
            return frame.kind not in {"log", "metric", RESYNC}
        return True

    async def _around(self, frame: Frame) -> AsyncGenerator[Frame, None]:
        """Nothing for an old frame; for one after a gap, what SQL has up to it and beyond."""
        if frame.kind == RESYNC:
            yield await self._status()
            async for missed in self._fill():
                yield missed
            return
        fill = self._log_fill if frame.kind == "log" else self._metric_fill
        if self._is_old(frame, self._cursor(frame)):
            return
        async for missed in fill():
            yield missed
        if self._is_old(frame, self._cursor(frame)):
            return
        if not self._is_plain(frame):
            # A frame leaves only after its commit, so SQL had it; else it is better shown than lost.
            log.warning(
                "#%s: %s %s:%s is not in SQL",
                self._instance.pk,
                frame.kind,
                frame.attempt,
                frame.start,
            )
        yield frame

    def _cursor(self, frame: Frame) -> Cursor:
        return self.log if frame.kind == "log" else self.metric

    @staticmethod
    def _is_old(frame: Frame, cursor: Cursor) -> bool:
        """Everything in it was sent. A frame without lines at the cursor is news: a progress bar moved."""
        if frame.attempt != cursor.attempt:
            return frame.attempt < cursor.attempt
        return frame.end < cursor.position or (frame.start < frame.end == cursor.position)

    @staticmethod
    def _is_next(frame: Frame, cursor: Cursor) -> bool:
        return (frame.attempt, frame.start) == cursor

    async def _fill(self) -> AsyncGenerator[Frame, None]:
        async for frame in self._log_fill():
            yield frame
        async for frame in self._metric_fill():
            yield frame

    async def _log_fill(self) -> AsyncGenerator[Frame, None]:
        more = True
        while more:
            page = await in_thread(selectors.log_lines)(
                instance=self._instance, after=self.log, limit=PAGE_LINES
            )
            self.log, more = page.next, page.more
            if page.lines or page.partial or page.left_out:
                yield Frame.of(page.frame())

    async def _metric_fill(self) -> AsyncGenerator[Frame, None]:
        more = True
        while more:
            page = await in_thread(selectors.metric_rows)(
                instance=self._instance, after=self.metric, limit=PAGE_ROWS
            )
            self.metric, more = page.next, page.more
            for rows in _by_attempt(page.rows):
                yield Frame.of(
                    {
                        "type": "metric",
                        "attempt": rows[0]["attempt"],
                        "from": rows[0]["from"],
                        "to": rows[-1]["to"],
                        "rows": rows,
                    }
                )


def _by_attempt(rows: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    for row in rows:
        if not found or found[-1][0]["attempt"] != row["attempt"]:
            found.append([])
        found[-1].append(row)
    return found
