"""The web process: Django pages and API, tus uploads beside Django, websockets and SSE.

    uvicorn loraforge.asgi:application --ws websockets-sansio --ws-per-message-deflate false \
        --ws-max-size 65536 --lifespan on --timeout-graceful-shutdown 5 --no-access-log

Deflate would cost 1.8 times the CPU and 200 kB a socket; the older `--ws websockets` is slower.
"""

import gc
import os
from typing import Any

from loraforge.core import handler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "loraforge.settings.base")

# Django first: what follows imports models.
django_application = handler.django_application()

from channels.routing import URLRouter  # noqa: E402
from channels.security.websocket import WebsocketDenier  # noqa: E402

from loraforge.core.bodies import BoundedBodies  # noqa: E402
from loraforge.core.fanout import fanout  # noqa: E402
from loraforge.core.origins import is_own_origin, origin_of  # noqa: E402
from loraforge.core.staticfiles import StaticFiles  # noqa: E402
from loraforge.datasets import tus  # noqa: E402
from loraforge.routing import websocket_urlpatterns  # noqa: E402

# Each library has its own types for these three.
Scope = Any
Receive = Any
Send = Any

# New objects after which the garbage collector looks for rings among them: a request makes some ten thousand,
# and with Python's 700 it is looked at twenty times.
GC_EVERY = 20_000

static_files = StaticFiles()
routes: Any = websocket_urlpatterns
sockets = URLRouter(routes)
denied: Any = WebsocketDenier.as_asgi()
pages = BoundedBodies(django_application)


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """One ASGI application for everything that the web process serves."""
    if scope["type"] == "websocket":
        await websocket(scope, receive, send)
    elif scope["type"] == "lifespan":
        await lifespan(receive, send)
    elif tus.is_tus(scope):
        await tus.application(scope, receive, send)
    elif not await static_files.answer(scope, send):
        await pages(scope, receive, send)


async def websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """A browser always says which page it comes from; a page of another site is refused."""
    origin = origin_of(scope)
    is_welcome = origin is None or is_own_origin(scope, origin)
    await (sockets if is_welcome else denied)(scope, receive, send)


async def lifespan(receive: Receive, send: Send) -> None:
    """What is loaded now stays: the garbage collector need not look at it again, which would hold up
    every page for a tenth of a second. The reader of live frames ends with the process.
    """
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            gc.collect()
            gc.freeze()
            gc.set_threshold(GC_EVERY)
            await send({"type": "lifespan.startup.complete"})
        else:
            await fanout().stop()
            await send({"type": "lifespan.shutdown.complete"})
            return
