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
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import psutil

import nodeagent
from nodeagent.clock import AgreedClock
from nodeagent.commands import Commands
from nodeagent.config import ConfigError, Settings, settings_read
from nodeagent.connection import redis_client
from nodeagent.contract.joining import JoinAnswer, JoinRequest
from nodeagent.files import FileService
from nodeagent.heartbeat import Heart
from nodeagent.journal import Journal, JournalFault
from nodeagent.linecap import LogCaps
from nodeagent.probes.host import boot_id, host_sample, memory_total_bytes
from nodeagent.probes.nvml import Nvml
from nodeagent.reporter import Reporter, StreamKey
from nodeagent.runtimes.base import Runtime
from nodeagent.runtimes.choice import engine_choose, runtime_make
from nodeagent.runtimes.preflight import EngineRefused
from nodeagent.supervisor import POOL_THREADS, Supervisor
from nodeagent.supervisor.caches import Caches
from nodeagent.supervisor.closing import Manifests
from nodeagent.supervisor.fencing import Contact
from nodeagent.supervisor.hub import HubCache
from nodeagent.supervisor.outbox import Outbox
from nodeagent.supervisor.parts import Parts
from nodeagent.transfer.inputs import Fetcher
from nodeagent.transfer.joining import JoinRefused, cluster_join
from nodeagent.worker import EX_TEMPFAIL, Canary, celery_app, worker_run
from nodeagent.workspace import Workspace

log = logging.getLogger("nodeagent")

Rewinds = queue.SimpleQueue[tuple[StreamKey, int]]

SWIFT_LABEL = "lf.swift"  # of a training image: the version of ms-swift in it
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


class Node:
    """What this machine is, as the control plane is told."""

    def __init__(self, settings: Settings, sock: socket.socket, agent_id: str) -> None:
        self.settings = settings
        self.agent_id = agent_id
        self.nvml = Nvml()
        self.slots = settings.slots(gpus=len(self.nvml.gpus))
        self.engine = engine_choose(settings, has_gpus=bool(self.nvml.gpus))
        port = sock.getsockname()[1]
        host = settings.listen_host
        if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - compared, not bound
            host = socket.getfqdn()
        self.file_url = settings.advertise or f"http://{host}:{port}"

    @property
    def devices(self) -> set[str]:
        return {gpu.uuid for gpu in self.nvml.gpus} | {f"cpu-{n}" for n in range(self.slots)}

    @property
    def warnings(self) -> list[str]:
        if self.engine is None:
            return ["Jobs run as plain processes with all that the agent's user may do."]
        return self.engine.findings.warnings

    @property
    def swift_version(self) -> str:
        if self.engine is None:
            return swift_version(self.settings.swift_python)
        return self.engine.image_label(self.settings.containers.images[0], SWIFT_LABEL)

    def join_request(self) -> JoinRequest:
        settings = self.settings
        host = host_sample(settings.folder)
        return JoinRequest(
            node=settings.name,
            boot_id=boot_id(),
            agent_version=nodeagent.__version__,
            runtime="docker" if self.engine else "process",
            hostname=socket.gethostname(),
            file_url=self.file_url,
            clock=time.time(),
            cpu_count=psutil.cpu_count() or 1,
            memory_bytes=memory_total_bytes(),
            disk_total_bytes=host.disk_total_bytes,
            disk_free_bytes=host.disk_free_bytes,
            gpus=self.nvml.gpus,
            cpu_slots=self.slots,
            model_roots=[str(root) for root in settings.model_roots],
            driver_version=self.nvml.driver_version,
            swift_version=self.swift_version,
            engine_version=self.engine.findings.version if self.engine else "",
            warnings=self.warnings,
            agent_id=self.agent_id,
        )


def swift_version(python: Path) -> str:
    """Version of ms-swift in the training environment, by its metadata; empty when it is not there."""
    for folder in python.parent.parent.glob("lib/python3*/site-packages/ms_swift-*.dist-info"):
        return folder.name.removeprefix("ms_swift-").removesuffix(".dist-info")
    return ""


class Stores(NamedTuple):
    """What a job's inputs, models and datasets come from."""

    fetcher: Fetcher
    hub: HubCache
    caches: Caches


def stores_make(settings: Settings, workspace: Workspace, runtime: Runtime) -> Stores:
    """All below the one folder of caches."""
    caches = Caches(folder=settings.cache, cap_bytes=settings.cache_max_bytes)
    fetcher = Fetcher(
        server=settings.server,
        token=settings.token,
        cache=settings.cache,
        workspace=workspace,
        make_room=caches.make_room,
    )
    hub = HubCache(
        folder=settings.cache,
        runtime=runtime,
        token_get=fetcher.secret_get,
        make_room=caches.make_room,
    )
    return Stores(fetcher, hub, caches)


def _reporter(
    node: Node, answer: JoinAnswer, journal: Journal, rewinds: Rewinds, contact: Contact
) -> Reporter:
    return Reporter(
        node=node.settings.name,
        client=redis_client(answer.redis_url),
        journal=journal,
        on_rewind=lambda key, end: rewinds.put((key, end)),
        agent_id=node.agent_id,
        on_superseded=superseded_end,
        on_heard=contact.heard,
    )


def _runtime(node: Node, answer: JoinAnswer) -> Runtime:
    return runtime_make(
        node.settings, engine=node.engine, cluster=answer.cluster, devices=len(node.devices)
    )


class Agent:
    """All services of the agent, started in order and stopped in reverse."""

    def __init__(
        self, node: Node, answer: JoinAnswer, journal: Journal, boot: str, sock: socket.socket
    ) -> None:
        settings = node.settings
        workspace = Workspace(settings.folder)
        rewinds: Rewinds = queue.SimpleQueue()
        contact = Contact(boot_id=boot)
        self.reporter = _reporter(node, answer, journal, rewinds, contact)
        runtime = _runtime(node, answer)
        self._stores = stores_make(settings, workspace, runtime)
        caps = LogCaps(per_job=settings.log_lines_per_job, per_node=settings.log_lines_per_node)
        pool = ThreadPoolExecutor(POOL_THREADS, thread_name_prefix="job")
        self.supervisor = Supervisor(
            parts=Parts(
                node=settings.name,
                boot_id=boot,
                runtime=runtime,
                fetcher=self._stores.fetcher,
                hub=self._stores.hub,
                reporter=self.reporter,
                contact=contact,
                outbox=Outbox(node=settings.name, journal=journal, reporter=self.reporter),
                manifests=Manifests(),
                pool=pool,
                model_roots=settings.model_roots,
                cpu_slots=node.slots,
                log_caps=caps,
                job_disk_bytes=settings.job_disk_bytes,
                limits=settings.limits,
            ),
            journal=journal,
            workspace=workspace,
            pool=pool,
            rewinds=rewinds,
            devices=node.devices,
        )
        self._stores.caches.live = self.supervisor.live_records
        self.commands = Commands(journal=journal, supervisor=self.supervisor)
        key = bytes.fromhex(answer.file_key)
        self._files = FileService(workspace=workspace, key=key, sock=sock, now=AgreedClock().now)
        self._heart = Heart(
            node=settings.name,
            boot_id=boot,
            agent_id=node.agent_id,
            file_url=node.file_url,
            folder=settings.folder,
            heartbeat_s=answer.heartbeat_s,
            sample_s=answer.sample_s,
            reporter=self.reporter,
            nvml=node.nvml,
            held=self.supervisor.held,
            unknown=lambda: self.supervisor.unknown,
            jobs=self.supervisor.job_samples,
            mark=contact.mark,
            left_out=lambda: caps.left_out_lines,
        )
        self.app = celery_app(
            node=settings.name, redis_url=answer.redis_url, handle=self.commands.handle
        )
        self._canary = Canary(self.app)

    def start(self) -> None:
        self.reporter.start()
        self.supervisor.start()
        self._stores.caches.start()
        self._files.start()
        self._heart.start()
        self._canary.start()
        log.info("at work; files at %s", self._heart.file_url)

    def stop(self) -> None:
        self._canary.stop()
        self._heart.stop()
        self._files.stop()
        self.supervisor.stop()
        self.reporter.stop()
        self._stores.caches.stop()
        self._stores.fetcher.close()
        log.info("ended; trainings go on")


def work(settings: Settings) -> int:
    """Join and work until told to end. Returns the exit code."""
    with (
        folder_locked(settings.folder),
        contextlib.closing(Journal(settings.folder / "journal.sqlite3")) as journal,
        socket.create_server((settings.listen_host, settings.listen_port)) as sock,
    ):
        node = Node(settings, sock, agent_remember(journal))
        for warning in node.warnings:
            log.warning("%s", warning)
        answer = cluster_join(
            server=settings.server,
            token=settings.token,
            request=node.join_request,
            wait=_interruptible_wait(),
        )
        cluster_remember(journal, answer, settings.folder)
        agent = Agent(node, answer, journal, boot_remember(journal), sock)
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
