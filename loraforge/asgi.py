"""The web process: Django pages and API, tus uploads beside Django, websockets and SSE."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "loraforge.settings.base")

application = get_asgi_application()
