"""Is the process alive, can it work, and what does it count."""

import asyncio
import hmac
import ipaddress

from django.conf import settings
from django.db import DatabaseError, connection
from django.http import HttpRequest, HttpResponse, JsonResponse
from django_prometheus.exports import ExportToDjangoView
from redis.exceptions import RedisError

from loraforge.core.redis import connection_async
from loraforge.core.threads import in_thread

READY_WAIT_S = 2.0


async def healthz(_request: HttpRequest) -> HttpResponse:
    """200 while the process answers at all."""
    return JsonResponse({"status": "ok"})


async def readyz(_request: HttpRequest) -> HttpResponse:
    """200 when database and Redis answer within two seconds, else 503; the body says which does not."""
    names = ("database", "redis")
    answers = await asyncio.gather(_in_time(_database()), _in_time(_redis()))
    checks = dict(zip(names, answers, strict=True))
    is_ready = all(answer == "ok" for answer in answers)
    body = {"status": "ok" if is_ready else "unavailable", "checks": checks}
    return JsonResponse(body, status=200 if is_ready else 503)


def metrics(request: HttpRequest) -> HttpResponse:
    """Prometheus' text format, for this machine only, or with the bearer of LORAFORGE_METRICS_TOKEN."""
    if not _may_read_metrics(request):
        return HttpResponse(status=403)
    return ExportToDjangoView(request)  # type: ignore[no-any-return]


async def _in_time(check: "asyncio.Future[None] | object") -> str:
    try:
        await asyncio.wait_for(check, READY_WAIT_S)  # type: ignore[arg-type]
    except TimeoutError:
        return "does not answer"
    except (DatabaseError, RedisError, OSError) as error:
        return type(error).__name__
    return "ok"


def _select_one() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")


async def _database() -> None:
    await in_thread(_select_one)()


async def _redis() -> None:
    client = connection_async()
    try:
        await client.ping()
    finally:
        await client.aclose()


def _may_read_metrics(request: HttpRequest) -> bool:
    token = getattr(settings, "METRICS_TOKEN", "")
    given = request.headers.get("Authorization", "")
    if token:
        return hmac.compare_digest(given.encode(), f"Bearer {token}".encode())
    # Behind a proxy on this machine everybody would look local.
    return "X-Forwarded-For" not in request.headers and _is_loopback(
        request.META.get("REMOTE_ADDR", "")
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
