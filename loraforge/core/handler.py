"""How a request goes through Django under ASGI: in one thread, which keeps its database connection.

Django's own handler hops between the event loop and threads at every middleware, at the request's signals and
at its end, and gives each request a new thread and so a new connection; SQLite reads the whole schema again
for each.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import django
from asgiref.sync import sync_to_async
from django.core import signals
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler, get_script_prefix
from django.db import close_old_connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from loraforge.core.errors import BodyBroken
from loraforge.core.outlet import outlet_of

_log = logging.getLogger(__name__)

# More than ever work at once: a thread also waits for an asynchronous view (a node's first bytes).
THREADS = 32


class ThreadHandler(ASGIHandler):
    """Signals, middleware and views in a thread of a bounded pool; bodies are streamed by the event loop."""

    # Django cuts what is streamed into 64 KiB, each with its own way through the server
    chunk_size = 1024**2

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's
        """As under WSGI, whatever the middleware could do."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Django would make a thread here for the request's signals; one for all does."""
        await self.handle(scope, receive, send)

    async def handle(self, scope: Any, receive: Any, send: Any) -> None:
        """As Django's, with the signals of a request's begin and end sent in its own thread."""
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            set_script_prefix(get_script_prefix(scope))
            request, refusal = self.create_request(scope, body)
            if request is None:
                await self.send_response(cast("HttpResponseBase", refusal), send)
                return
            gone, work = self.listen_for_disconnect(receive), self._respond(request, send)
            response = await _until_gone(gone, work)
            if (
                response is not None and response.streaming
            ):  # any other was closed where it was made
                await self._in_thread(response.close)()

    async def _respond(self, request: HttpRequest, send: Any) -> HttpResponseBase:
        response = await self.run_get_response(request)
        body = getattr(response, "poured", None)
        if body is not None and not response.has_header("Content-Encoding"):
            body.outlet = outlet_of(send)
        try:
            await self.send_response(response, send)
        except asyncio.CancelledError:
            pass  # its client went while it was sent
        except BodyBroken as error:
            # What was sent stands; a server that gets no end of it closes the connection.
            _log.warning("the answer to %s broke off: %s", request.path, error)
        return response

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The answer, from a thread."""
        response: HttpResponseBase = await self._in_thread(self._work)(request)
        return response

    def _in_thread(self, work: Callable[..., Any]) -> Any:
        return sync_to_async(work, thread_sensitive=False, executor=self._threads)

    def _work(self, request: Any) -> Any:
        signals.request_started.send(sender=type(self), scope=request.scope)
        try:
            response: Any = self.get_response(request)
            response._handler_class = type(self)  # noqa: SLF001 - as Django's own handlers do
            if not response.streaming:
                response.close()  # says that the request is over; its content stays
            return response
        finally:
            close_old_connections()


async def _until_gone(gone: Any, work: Any) -> Any:
    """What the work gives, however far it got until its client went; None when it had nothing to give yet."""
    tasks = [asyncio.ensure_future(gone), asyncio.ensure_future(work)]
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
    ended, found = await asyncio.gather(*tasks, return_exceptions=True)
    for one in (ended, found):
        if isinstance(one, BaseException) and not isinstance(
            one, (RequestAborted, asyncio.CancelledError)
        ):
            raise one
    return None if isinstance(found, BaseException) else found


def django_application() -> ThreadHandler:
    """Django, set up."""
    django.setup(set_prefix=False)
    return ThreadHandler()
