"""The agent's Celery worker: takes commands from the node's own queue, and nothing else.

The services (supervisor, reporter, heartbeat, file service) live in a bootstep that starts before the
pool and stops after it, so that no command meets a supervisor that is gone.
"""

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import parse_qs, quote, urlsplit

from celery import Celery, bootsteps
from celery.apps.worker import Worker
from celery.worker import components
from celery.worker.consumer import Consumer
from kombu import Queue

from nodeagent.contract.channels import COMMAND_TASK, command_queue

log = logging.getLogger(__name__)

CONCURRENCY = 4
VISIBILITY_TIMEOUT_S = 600
CANARY_TASK = "nodeagent.canary"
CANARY_EVERY_S = 30.0
CANARY_DEAD_S = 90.0
EX_TEMPFAIL = 75
REFUSED_PAUSE_S = 1.0


class Services(Protocol):
    """What runs beside the worker."""

    def start(self) -> None: ...

    def stop(self) -> None: ...


def broker_url(redis_url: str) -> str:
    """kombu's spelling of a redis-py URL: ``unix:///path?db=0`` -> ``redis+socket:///path?virtual_host=0``."""
    parts = urlsplit(redis_url)
    if parts.scheme == "rediss" and "ssl_cert_reqs" not in parts.query:
        # kombu alone would take any certificate
        return f"{redis_url}{'&' if parts.query else '?'}ssl_cert_reqs=required"
    if parts.scheme != "unix":
        return redis_url
    query = parse_qs(parts.query)
    database = query.get("db", ["0"])[0]
    address = f"redis+socket://{parts.path}?virtual_host={database}"
    password = query.get("password", [""])[0] or parts.password or ""
    return f"{address}&password={quote(password, safe='')}" if password else address


class CommandPool(components.Pool):
    """The pool, which starts after the services and so stops before them."""


class PatientConsumer(Consumer):
    """Waits out a Redis that answers, but refuses (MISCONF: its disk is full).

    Celery by itself calls that unrecoverable and ends; or, told to try again, does so at once and for ever.
    """

    def on_connection_error_after_connected(self, exc: Exception) -> Any:
        super().on_connection_error_after_connected(exc)
        consumer: Any = self
        if not isinstance(exc, consumer.connection_errors):
            time.sleep(REFUSED_PAUSE_S)


class ServicesStep(bootsteps.StartStopStep):
    """Starts and stops the agent's services with the worker."""

    name = "nodeagent.Services"

    def start(self, parent: Any) -> None:
        parent.services.start()

    def stop(self, parent: Any) -> None:
        parent.services.stop()

    def terminate(self, parent: Any) -> None:
        parent.services.stop()


CommandPool.requires = (components.Hub, ServicesStep)


class AgentWorker(Worker):
    """A Celery worker with the agent's services in its blueprint."""

    services: Services

    class Blueprint(Worker.Blueprint):
        default_steps = {
            components.Hub,
            components.Timer,
            components.StateDB,
            components.Consumer,
            ServicesStep,
            CommandPool,
        }


def celery_app(*, node: str, redis_url: str, handle: Callable[[object], None]) -> Celery:
    """The agent's Celery application with its one task; ``handle`` gets the plain command."""
    # No fixups: Celery's own for Django would load the control plane wherever the environment names
    # its settings, as it does on one machine with both.
    app = Celery("nodeagent", broker=broker_url(redis_url), set_as_current=False, fixups=[])
    queue = command_queue(node)
    prefix = f"unacked:{node}."
    app.conf.update(
        task_queues=[Queue(queue, routing_key=queue)],
        task_default_queue=queue,
        task_default_routing_key=queue,
        task_create_missing_queues=False,
        task_ignore_result=True,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_serializer="json",
        accept_content=["json"],
        event_serializer="json",
        result_backend=None,
        worker_pool="threads",
        worker_concurrency=CONCURRENCY,
        worker_prefetch_multiplier=1,
        worker_send_task_events=True,
        worker_enable_remote_control=False,  # its reply queues are never removed (celery#6089)
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        worker_consumer=PatientConsumer,
        broker_connection_timeout=4.0,
        broker_transport_options={
            "visibility_timeout": VISIBILITY_TIMEOUT_S,
            # per node: a stock worker's shared keys defeat a per-node ACL
            "unacked_key": prefix,
            "unacked_index_key": f"{prefix}index",
            "unacked_mutex_key": f"{prefix}mutex",
            "unacked_restore_throttle": 1,
            "socket_timeout": 30.0,
            "socket_connect_timeout": 4.0,
            "socket_keepalive": True,
            "retry_on_timeout": True,
            "health_check_interval": 15,
        },
    )

    @app.task(name=COMMAND_TASK)
    def command_task(*, command: object) -> None:
        handle(command)

    return app


class Canary:
    """Notices a worker that lives but consumes no more (celery#8030 and its kin) and ends the process.

    A no-op goes through the node's own queue every ``every_s``; when Redis took it and none came back
    for ``dead_s``, the process ends and its keeper starts it anew. Trainings go on meanwhile.
    """

    def __init__(
        self,
        app: Celery,
        *,
        every_s: float = CANARY_EVERY_S,
        dead_s: float = CANARY_DEAD_S,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._app = app
        self._every_s = every_s
        self._dead_s = dead_s
        self._end = end
        self._unanswered_since: float | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary", daemon=True)
        app.task(name=CANARY_TASK)(self.sing)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def sing(self) -> None:
        """The no-op came back."""
        self._unanswered_since = None

    def _run(self) -> None:
        while not self._stopping.wait(self._every_s):
            try:
                self._app.send_task(CANARY_TASK, expires=self._every_s * 2, retry=False)
            except Exception as error:
                log.warning("the canary could not be sent: %s", error)
                self._unanswered_since = None
                continue
            now = time.monotonic()
            self._unanswered_since = self._unanswered_since or now
            if now - self._unanswered_since >= self._dead_s:
                log.critical("no command was consumed for %.0f s; starting anew", self._dead_s)
                self._end(EX_TEMPFAIL)


def worker_run(*, app: Celery, node: str, services: Services) -> int:
    """Consume until SIGTERM or SIGINT; a warm shutdown. Returns the exit code."""
    worker = AgentWorker(
        app=app,
        hostname=f"agent@{node}",
        loglevel=logging.INFO,
        without_gossip=True,
        without_mingle=True,
        heartbeat_interval=10,
        task_events=True,
        quiet=True,
    )
    worker.services = services
    worker.start()
    return int(worker.exitcode or 0)
