"""``python -m nodeagent``: joins the cluster and works until it is told to end.

Ending the agent never ends a training; the next start adopts it.
"""

import contextlib
import fcntl
import logging
import os
import queue
import secrets
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from nodeagent.clock import AgreedClock
from nodeagent.commands import Commands
from nodeagent.config import ConfigError, Settings, settings_read
from nodeagent.connection import redis_client
from nodeagent.contract.joining import JoinAnswer, JoinRequest
from nodeagent.files import FileService
from nodeagent.heartbeat import Heart
from nodeagent.journal import Journal, JournalFault
from nodeagent.machine import Node
from nodeagent.probes.host import boot_id
from nodeagent.reporter import Reporter, StreamKey
from nodeagent.runtimes.base import Runtime
from nodeagent.runtimes.choice import runtime_make
from nodeagent.runtimes.preflight import EngineRefused
from nodeagent.supervisor.fencing import Contact
from nodeagent.supervisor.gpucheck import GpuChecks
from nodeagent.supervisor.gpuwatch import GpuWatch
from nodeagent.supervisor.lease import Lease
from nodeagent.transfer.joining import JoinRefused, cluster_join
from nodeagent.watch import Watch
from nodeagent.worker import EX_TEMPFAIL, Canary, celery_app, worker_run

log = logging.getLogger("nodeagent")

Rewinds = queue.SimpleQueue[tuple[StreamKey, int]]

EX_CONFIG = 78  # sysexits.h; a keeper need not try again at once


class StartRefused(Exception):
    """The agent cannot work here; the text says what to do."""


@contextlib.contextmanager
def folder_locked(folder: Path) -> Iterator[None]:
    """Hold the agent's folder alone. Raises StartRefused when another agent has it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise StartRefused(
                f"Another agent works in {folder}. Stop it, or give this one --data DIR."
            ) from error
        yield
    finally:
        os.close(lock)


def cluster_remember(journal: Journal, answer: JoinAnswer, folder: Path) -> None:
    """A folder belongs to one cluster for ever. Raises StartRefused for another one."""
    known = journal.meta_get("cluster")
    if known and known != answer.cluster:
        raise StartRefused(
            f"{folder} belongs to the cluster {known}, and this is {answer.cluster}. "
            "Give the agent another folder (--data DIR), or remove this one if its jobs may go."
        )
    journal.meta_set("cluster", answer.cluster)


def boot_remember(journal: Journal) -> str:
    """The machine's boot id; says so when it is another one than at the agent's last start."""
    current, known = boot_id(), journal.meta_get("boot_id")
    if known and known != current:
        log.warning("this machine was started anew; jobs that ran then have ended")
    journal.meta_set("boot_id", current)
    return current


def agent_remember(journal: Journal) -> str:
    """Who this agent is: made once in its folder, which only one process holds at a time."""
    known = journal.meta_get("agent")
    if not known:
        known = secrets.token_hex(8)
        journal.meta_set("agent", known)
    return known


def superseded_end() -> None:
    """Two agents under one name would both take its commands; the one that joined last stays."""
    log.critical(
        "another agent has joined under this name since; this one ends, trainings go on. "
        "Remove one of the two, or give it a name and a token of its own."
    )
    logging.shutdown()
    os._exit(EX_CONFIG)


def watch_make(node: Node, journal: Journal, *, boot: str, contact: Contact, cluster: str) -> Watch:
    """All that needs no control plane. cluster: whose trainings these are."""
    rewinds: Rewinds = queue.SimpleQueue()
    reporter = Reporter(
        node=node.settings.name,
        journal=journal,
        on_rewind=lambda key, end: rewinds.put((key, end)),
        agent_id=node.agent_id,
        on_superseded=superseded_end,
        on_heard=contact.heard,
    )
    runtime = runtime_make(
        node.settings,
        engine=node.engine,
        cluster=cluster,
        devices=len(node.devices),
        raw=node.raw,
    )
    return Watch(
        settings=node.settings,
        journal=journal,
        boot_id=boot,
        contact=contact,
        reporter=reporter,
        rewinds=rewinds,
        runtime=runtime,
        devices=node.devices,
        cpu_slots=node.slots,
        gpus=_gpus(node, runtime, journal),
    )


def _gpus(node: Node, runtime: Runtime, journal: Journal) -> GpuWatch:
    watch = GpuWatch(probe=node.nvml, owns=runtime.owns)
    watch.checks = GpuChecks(
        runtime=runtime,
        journal=journal,
        folder=node.settings.folder / "checks",
        gpus=[gpu.uuid for gpu in node.nvml.gpus],
        setting=node.checked_in,
        is_busy=watch.is_busy,
    )
    return watch


class Agent:
    """The services that need the control plane, started in order and stopped in reverse; the watch is on already."""

    def __init__(
        self, node: Node, answer: JoinAnswer, journal: Journal, *, watch: Watch, contact: Contact
    ) -> None:
        settings = node.settings
        self._watch = watch
        self._redis_url = answer.redis_url
        self.commands = Commands(
            journal=journal,
            supervisor=watch.supervisor,
            discard=watch.caches.discard,
            staging=watch.staging,
        )
        key = bytes.fromhex(answer.file_key)
        self._files = FileService(
            workspace=watch.workspace, key=key, sock=node.sock, now=AgreedClock().now
        )
        self._heart = Heart(
            node=settings.name,
            boot_id=boot_id(),
            agent_id=node.agent_id,
            file_url=node.file_url,
            folder=settings.folder,
            heartbeat_s=answer.heartbeat_s,
            sample_s=answer.sample_s,
            reporter=watch.reporter,
            gpu_look=watch.gpus.look,
            gpu_states=watch.gpus.states,
            held=watch.supervisor.held,
            unknown=lambda: watch.supervisor.unknown,
            jobs=watch.supervisor.job_samples,
            mark=contact.mark,
            left_out=lambda: watch.caps.left_out_lines,
            cached=watch.caches.inputs_told,
            models=watch.caches.models_told,
            staged=watch.staging.told,
        )
        self.app = celery_app(
            node=settings.name, redis_url=answer.redis_url, handle=self.commands.handle
        )
        self._canary = Canary(self.app)

    def start(self) -> None:
        self._watch.reporter.start(redis_client(self._redis_url))
        self._watch.joined()
        self._files.start()
        self._heart.start()
        self._canary.start()
        log.info("at work; files at %s", self._heart.file_url)

    def stop(self) -> None:
        self._canary.stop()
        self._heart.stop()
        self._files.stop()
        self._watch.stop()


def _joined(node: Node, contact: Contact) -> JoinAnswer:
    def request() -> JoinRequest:
        contact.asking()
        return node.join_request()

    answer = cluster_join(
        server=node.settings.server,
        token=node.settings.token,
        request=request,
        wait=_interruptible_wait(),
    )
    contact.joined()
    return answer


def work(settings: Settings) -> int:
    """Join and work until told to end. Returns the exit code."""
    with (
        folder_locked(settings.folder),
        contextlib.closing(Journal(settings.folder / "journal.sqlite3")) as journal,
        socket.create_server((settings.listen_host, settings.listen_port)) as sock,
        contextlib.ExitStack() as stack,
    ):
        node = Node(settings, sock, agent_remember(journal))
        for warning in node.warnings:
            log.warning("%s", warning)
        boot = boot_remember(journal)
        contact = Contact(boot_id=boot, lease=Lease(settings.folder / "lease"))
        make = partial(watch_make, node, journal, boot=boot, contact=contact)
        known = journal.meta_get("cluster")
        watch = make(cluster=known) if known else None
        if watch is not None:  # the control plane may be away for long, and trainings run here
            stack.callback(watch.stop)
            watch.start()
        answer = _joined(node, contact)
        cluster_remember(journal, answer, settings.folder)
        if watch is None:
            watch = make(cluster=answer.cluster)
            stack.callback(watch.stop)
            watch.start()
        agent = Agent(node, answer, journal, watch=watch, contact=contact)
        return worker_run(app=agent.app, node=settings.name, services=agent)


def _interruptible_wait() -> Callable[[float], bool]:
    """Waits that a SIGTERM ends; the worker sets its own handlers later."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    return ended.wait


def main() -> int:
    logging.basicConfig(
        level=logging.INFO,
        stream=sys.stderr,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        return work(settings_read())
    except (ConfigError, EngineRefused, JoinRefused, StartRefused) as error:
        print(f"nodeagent: {error}", file=sys.stderr)
        return EX_CONFIG
    except JournalFault as error:
        print(f"nodeagent: {error}. Is the disk of --data full? Trainings go on.", file=sys.stderr)
        return EX_TEMPFAIL
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
