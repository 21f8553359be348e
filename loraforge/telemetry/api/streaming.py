"""Answers that flow: the log as a download, and server-sent events."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from django.contrib.auth.models import AnonymousUser
from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request

from loraforge.accounts.models import User
from loraforge.core.errors import LoraForgeError
from loraforge.core.threads import in_thread
from loraforge.datasets.streaming import ByteRange, Unsatisfiable, range_parse
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.selectors import instance_get
from loraforge.telemetry import gaps, selectors
from loraforge.telemetry.feed import JobFeed
from loraforge.telemetry.policy import Cursor

HEARTBEAT_S = 15.0
RECHECK_S = 60.0


# An app beside this one may have kept the whole file, where SQL has only its beginning or has gaps.
KeptLog = Callable[[HttpRequest | Request, Attempt, int], HttpResponseBase | None]
_kept_logs: list[KeptLog] = []


def log_kept_by(answer: KeptLog) -> None:
    """Ask ``answer(request, attempt, stored_bytes)`` before SQL; None = it has no more than that."""
    if answer not in _kept_logs:
        _kept_logs.append(answer)


def log_kept_response(
    request: HttpRequest | Request, *, attempt: Attempt
) -> HttpResponseBase | None:
    """The log as somebody else kept it, if that is more than what SQL has."""
    stored = selectors.log_end(attempt=attempt)
    answers = (answer(request, attempt, stored) for answer in _kept_logs)
    return next((found for found in answers if found is not None), None)


def log_response(*, attempt: Attempt, wanted: str) -> HttpResponseBase:
    """What is stored now of console.log; 206 for one range, 416 for one that lies outside."""
    size = selectors.log_end(attempt=attempt)
    try:
        part = range_parse(wanted, size)
    except Unsatisfiable:
        return HttpResponse(status=416, headers={"Content-Range": f"bytes */{size}"})
    sent = part or ByteRange(start=0, end=size, size=size)
    response = StreamingHttpResponse(
        selectors.log_bytes_async(attempt=attempt, start=sent.start, stop=sent.end),
        content_type="text/plain; charset=utf-8",
        status=200 if part is None else 206,
    )
    response["Content-Length"] = str(sent.length)
    response["Accept-Ranges"] = "bytes"
    response["Content-Disposition"] = log_disposition(attempt)
    if part is not None:
        response["Content-Range"] = part.content_range
    return response


def log_disposition(attempt: Attempt) -> str:
    """The name under which a browser saves an attempt's console.log."""
    return f'attachment; filename="job-{attempt.instance_id}-a{attempt.number}-console.log"'


def log_rest_response(*, attempt: Attempt) -> HttpResponseBase:
    """What is left of a console.log whose file was removed: what is stored, with a line for each gap."""
    response = StreamingHttpResponse(_rest(attempt), content_type="text/plain; charset=utf-8")
    response["Content-Disposition"] = log_disposition(attempt)
    return response


async def _rest(attempt: Attempt) -> AsyncGenerator[bytes, None]:
    position = 0
    for gap in await in_thread(gaps.gap_list)(attempt=attempt):
        async for piece in selectors.log_bytes_async(
            attempt=attempt, start=position, stop=gap.start
        ):
            yield piece
        yield f"[{gap.lines} lines are left out here: rate cap]\n".encode()
        position = gap.end
    stop = await in_thread(selectors.log_end)(attempt=attempt)
    async for piece in selectors.log_bytes_async(attempt=attempt, start=position, stop=stop):
        yield piece


def events_response(
    *, instance: Instance, user: User | AnonymousUser, log_after: Cursor, metric_after: Cursor
) -> HttpResponseBase:
    """Frames as server-sent events: `event` is the frame's type, `data` the frame, `id` both cursors."""
    feed = JobFeed(instance=instance, log_after=log_after, metric_after=metric_after)
    response = StreamingHttpResponse(
        _events(feed, instance, user), content_type="text/event-stream"
    )
    response["Cache-Control"] = "no-store"
    response["X-Accel-Buffering"] = "no"
    return response


async def _events(
    feed: JobFeed, instance: Instance, user: User | AnonymousUser
) -> AsyncGenerator[str, None]:
    """Ends when the reader falls behind or may not see the job any more; EventSource comes back by itself."""
    checked_at = time.monotonic()
    async with aclosing(feed.frames()) as frames:
        waiting: asyncio.Future[Any] | None = None
        try:
            while True:
                waiting = waiting or asyncio.ensure_future(anext(frames))
                done, _pending = await asyncio.wait({waiting}, timeout=HEARTBEAT_S)
                if time.monotonic() - checked_at > RECHECK_S:
                    checked_at = time.monotonic()
                    await in_thread(_recheck)(instance, user)
                if not done:
                    yield ": still here\n\n"
                    continue
                frame, waiting = waiting.result(), None
                yield f"event: {frame.kind}\nid: {feed.log},{feed.metric}\ndata: {frame.text}\n\n"
        except (StopAsyncIteration, LoraForgeError):
            return
        finally:
            if waiting is not None:
                waiting.cancel()
                await asyncio.wait({waiting})


def _recheck(instance: Instance, user: User | AnonymousUser) -> None:
    known = User.objects.filter(pk=user.pk).first() if user.pk else None
    instance_get(user=known or AnonymousUser(), instance_id=instance.pk)
