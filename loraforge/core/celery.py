"""The control plane's Celery app. Tasks last milliseconds; SQL, not a message, remembers what is to be done."""

import functools
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import redis
from celery import Celery
from django.apps import apps
from django.conf import settings
from django.db import InterfaceError, OperationalError
from kombu.exceptions import OperationalError as BrokerError

from loraforge.core.errors import Unavailable

if TYPE_CHECKING:
    from celery.app.task import Task

log = logging.getLogger(__name__)

VISIBILITY_TIMEOUT_S = 600
AGAIN_AFTER_S = 5


def broker_url(redis_url: str) -> str:
    """kombu's spelling of a redis-py URL: ``unix:///p?db=0`` becomes ``redis+socket:///p?virtual_host=0``."""
    if redis_url.startswith("unix://"):
        return redis_url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=")
    if redis_url.startswith("rediss://") and "ssl_cert_reqs=" not in redis_url:
        # kombu alone would take any certificate
        return f"{redis_url}{'&' if '?' in redis_url else '?'}ssl_cert_reqs=required"
    return redis_url


app = Celery("loraforge")
app.conf.update(
    broker_url=broker_url(settings.REDIS_URL),
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    task_default_queue="control",
    task_acks_late=True,
    task_send_sent_event=True,
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_channel_error_retry=True,
    worker_consumer="loraforge.core.consumer:PatientConsumer",
    broker_transport_options={
        "visibility_timeout": VISIBILITY_TIMEOUT_S,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 30,
        # Of publishing: kombu would otherwise try for six seconds before it says that Redis is away.
        "max_retries": 1,
        "interval_start": 0,
        "interval_step": 0.1,
        "interval_max": 0.2,
    },
    timezone="UTC",
    enable_utc=True,
)
app.autodiscover_tasks(
    [
        "loraforge.nodelink",
        "loraforge.scheduling",
        "loraforge.gateway",
        "loraforge.datasets",
        "loraforge.artifacts",
        "loraforge.telemetry",
        "loraforge.billing",
        "loraforge.training",
        "loraforge.migration",
    ]
)


def control_task(name: str) -> Callable[[Callable[..., Any]], "Task[Any, Any]"]:
    """A task of the control queue: late acknowledged, idempotent, done in seconds (law 2).

    An outage of what it needs is no failure: it is told in one line, and the task comes again.
    """

    def register(function: Callable[..., Any]) -> "Task[Any, Any]":
        @functools.wraps(function)
        def patient(**kwargs: Any) -> None:
            try:
                function(**kwargs)
            except (OperationalError, InterfaceError) as error:
                log.warning("%s waits, the database does not answer: %s", name, error)
                _again(name, kwargs, by=_later)
            except (Unavailable, BrokerError, redis.RedisError) as error:
                log.warning("%s waits, Redis does not answer: %s", name, error)
                _again(name, kwargs, by=_later_or_by_outbox)

        task: Task[Any, Any] = app.task(name=name, queue="control")(patient)
        return task

    return register


def _again(name: str, kwargs: dict[str, Any], *, by: Callable[[str, dict[str, Any]], None]) -> None:
    """What has no arguments is periodic and comes anyway. With both away, reconcile is what is left."""
    if not kwargs:
        return
    try:
        by(name, kwargs)
    except (OperationalError, InterfaceError, BrokerError, redis.RedisError) as error:
        log.warning("%s cannot be put off: %s", name, error)


def _later(name: str, kwargs: dict[str, Any]) -> None:
    app.send_task(name, kwargs=kwargs, queue="control", countdown=AGAIN_AFTER_S, retry=False)


def _later_or_by_outbox(name: str, kwargs: dict[str, Any]) -> None:
    """Redis may well be there and refuse one node's queue alone; by the outbox that would come again at once."""
    try:
        _later(name, kwargs)
    except (BrokerError, redis.RedisError):
        _outbox_put(name, kwargs)


def _outbox_put(name: str, kwargs: dict[str, Any]) -> None:
    """As `core.outbox` does, which needs loaded models; the relay looks without a sign as well."""
    messages = apps.get_model("core", "OutboxMessage")
    messages.objects.create(kind="task", target=name, queue="control", payload=kwargs)
