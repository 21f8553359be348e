"""Imports what a service is built on and nothing of ours, then sleeps: the floor of its memory.

``python -m tests.benchmarks.libraries web|control|core|flower|nodeagent``; prints ``ready``.
"""

import importlib
import sys
import threading

DJANGO_APPS = [
    "unfold", "django.contrib.admin", "django.contrib.auth", "django.contrib.contenttypes",
    "django.contrib.sessions", "django.contrib.messages", "django.contrib.staticfiles",
    "django.contrib.humanize", "channels", "rest_framework",
    "rest_framework_simplejwt.token_blacklist", "django_filters", "drf_spectacular",
    "drf_spectacular_sidecar", "guardian", "auditlog", "axes", "django_otp",
    "django_otp.plugins.otp_totp", "django_htmx", "django_prometheus",
]  # fmt: skip
CONTROL = ["celery.bin.worker", "celery.app", "kombu.transport.redis", "redis.asyncio", "msgspec"]
WEB = [
    "uvicorn.main", "rest_framework.viewsets", "rest_framework_simplejwt.authentication",
    "drf_spectacular.views", "channels.generic.websocket", "channels_redis.pubsub",
    "django.contrib.admin.sites", "unfold.admin", "websockets.server", "csp.middleware",
    "whitenoise.middleware", "axes.middleware", "httpx", "django_filters.rest_framework",
]  # fmt: skip
NODE_AGENT = [
    "celery.bin.worker", "celery.worker.worker", "kombu.transport.redis", "redis", "docker",
    "pynvml", "msgspec", "httpx", "starlette.applications", "uvicorn.main", "psutil",
]  # fmt: skip
FLOWER = ["flower.app", "flower.command", "celery.app", "kombu.transport.redis", "redis"]
ALONE = {"nodeagent": NODE_AGENT, "flower": FLOWER}


def main(service: str) -> None:
    """Import and wait to be killed."""
    if service in ALONE:
        names = ALONE[service]
    else:
        _django()
        names = CONTROL + (WEB if service == "web" else ["httpx", "rest_framework.views"])
        if service == "control":
            names = [*names, "celery.worker.worker"]
    for name in names:
        importlib.import_module(name)
    print("ready", flush=True)
    threading.Event().wait()


def _django() -> None:
    """With every app that is not ours."""
    import django  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415

    settings.configure(
        INSTALLED_APPS=DJANGO_APPS,
        SECRET_KEY="of a bench",
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        ANONYMOUS_USER_NAME=None,
        MIDDLEWARE=[],
    )
    django.setup()


if __name__ == "__main__":
    main(sys.argv[1])
