"""Flower as one light process.

    python -m loraforge.monitoring --unix-socket=/path/flower.sock --url-prefix=flower

Every option is Flower's own. Flower gets a Celery app that has the control plane's broker and
nothing else: it needs neither Django nor our tasks, and so takes a third of the memory.

It asks nobody who they are, so nothing but the web process may reach it: its socket has mode 0600.
And it only shows: a task sent from here would be a second door to the nodes, and a button that
stops an agent would claim what agents ignore.
"""

import asyncio
import atexit
import signal
from collections.abc import Sequence
from typing import Any

from celery import Celery
from flower.app import Flower
from flower.command import apply_env_options, apply_options, extract_settings, setup_logging
from flower.options import options
from flower.urls import settings as tornado_settings
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_unix_socket

from loraforge.core.celery import app as control_app
from nodeagent.contract.channels import command_queue

AGENT_PREFIX = "agent@"
SOCKET_MODE = 0o600
# What Flower remembers: a node's canary alone makes two tasks a minute.
MAX_TASKS = 1_000
SHARED_SETTINGS = (
    "broker_url",
    "broker_transport_options",
    "broker_connection_retry_on_startup",
    "broker_connection_max_retries",
    "task_default_queue",
    "task_serializer",
    "accept_content",
    "timezone",
    "enable_utc",
)


def celery_app() -> Celery:
    """The control plane's broker without its tasks and without Django's fixup."""
    app = Celery("flower", fixups=[], set_as_current=False)
    app.conf.update({name: control_app.conf[name] for name in SHARED_SETTINGS})
    return app


class Monitor(Flower):
    """Flower that knows node agents too.

    Their remote control is off (its reply queues are never removed: celery#6089), so they answer no
    inspection; what is known of them comes from their heartbeats and task events.
    """

    def start_http_server(self) -> int | None:
        """Flower makes its unix socket open to all; ours is for the user it runs as."""
        if not options.unix_socket:
            port: int | None = super().start_http_server()
            return port
        HTTPServer(self).add_socket(bind_unix_socket(options.unix_socket, mode=SOCKET_MODE))
        return None

    @property
    def workers(self) -> dict[str, Any]:
        """Worker name -> what inspecting it gave, or what its events tell."""
        state = self.events.state
        found = {
            name: agent_card(worker, handled=state.counter[name]["task-received"])
            for name, worker in list(state.workers.items())
            if name.startswith(AGENT_PREFIX)
        }
        return found | dict(self.inspector.workers)

    def update_workers(self, workername: str | None = None) -> Any:
        """Ask; an agent would not answer."""
        if workername is None or not workername.startswith(AGENT_PREFIX):
            return super().update_workers(workername)
        nothing: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        nothing.set_result(None)
        return nothing


def agent_card(worker: Any, *, handled: int) -> dict[str, Any]:
    """An agent's events in the shape of an inspected worker, as Flower's worker page reads it.

    worker: `celery.events.state.Worker`; handled: tasks it took since Flower started.
    """
    queue = command_queue(worker.hostname.removeprefix(AGENT_PREFIX))
    details = ("name", "exclusive", "durable", "routing_key", "no_ack", "alias")
    arguments = ("queue_arguments", "binding_arguments", "auto_delete", "exchange")
    row = dict.fromkeys((*details, *arguments)) | {"name": queue, "routing_key": queue}
    stats = {
        "pid": worker.pid,
        "pool": {},
        "broker": {},
        "total": {"all tasks": handled},
        "software": f"{worker.sw_ident} {worker.sw_ver}",
        "load average": worker.loadavg,
        "heartbeat every (s)": worker.freq,
    }
    lists = ("registered", "scheduled", "active", "reserved", "revoked")
    return {**dict.fromkeys(lists, ()), "stats": stats, "active_queues": [row], "conf": {}}


def run(arguments: Sequence[str]) -> None:
    """Serve until SIGTERM or SIGINT."""
    options.max_tasks = MAX_TASKS
    options.read_only = True
    options.enable_events = False  # every worker of ours sends them by itself
    apply_env_options()
    apply_options("flower", list(arguments))
    extract_settings()
    setup_logging()
    monitor = Monitor(capp=celery_app(), options=options, **tornado_settings)
    atexit.register(monitor.stop)
    signal.signal(signal.SIGTERM, lambda *_arguments: exit_now())
    monitor.start_http_server()
    monitor.start()


def exit_now() -> None:
    """Let `atexit` stop the threads."""
    raise SystemExit(0)
