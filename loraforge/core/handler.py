"""How a request goes through Django under ASGI: in one thread, which keeps its database connection.

Django's own handler hops between the event loop and threads at every middleware, and gives each request
a new thread and so a new connection; SQLite reads the whole schema again for each.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import django
from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.db import close_old_connections
from django.http import HttpRequest
from django.http.response import HttpResponseBase

# More than ever work at once: a thread also waits for an asynchronous view (a node's first bytes).
THREADS = 32


class ThreadHandler(ASGIHandler):
    """Middleware and views in a thread of a bounded pool; bodies are streamed by the event loop."""

    def __init__(self) -> None:
        super().__init__()
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="request")

    def load_middleware(self, is_async: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's
        """As under WSGI, whatever the middleware could do."""
        super().load_middleware(is_async=False)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Django would make a thread here for the request's signals; one for all does."""
        await self.handle(scope, receive, send)

    async def get_response_async(self, request: HttpRequest) -> HttpResponseBase:
        """The answer, from a thread."""
        in_thread: Any = sync_to_async(self._work, thread_sensitive=False, executor=self._threads)
        response: HttpResponseBase = await in_thread(request)
        return response

    def _work(self, request: HttpRequest) -> HttpResponseBase:
        # Django's signals would do this for the connections of another thread.
        close_old_connections()
        try:
            return self.get_response(request)
        finally:
            close_old_connections()


def django_application() -> ThreadHandler:
    """Django, set up."""
    django.setup(set_prefix=False)
    return ThreadHandler()
