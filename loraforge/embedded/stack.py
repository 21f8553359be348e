"""Preparing, starting and stopping the services of one machine."""

import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import httpx
from django.conf import settings
from django.core.management import call_command

from loraforge.core.errors import Conflict, Unavailable
from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Node
from loraforge.nodes.services import node_add
from loraforge.settings.env import BASE_DIR, env

NODE_NAME = "local"
# A unix socket's path is at most 107 bytes (unix(7)).
SOCKET_PATH_MAX = 107
READY_TIMEOUT_S = 180
AGENT_LOOK_S = 2.0


@dataclass(frozen=True)
class Stack:
    """The services of one data folder."""

    data: Path
    port: int

    @property
    def url(self) -> str:
        """Where people point their browser."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid_file(self) -> Path:
        """Written by supervisord."""
        return self.data / "supervisord.pid"


def stack_here() -> Stack:
    """The stack that the settings describe."""
    return Stack(data=Path(settings.DATA), port=settings.PORT)


def lock_take(stack: Stack) -> int:
    """An inheritable descriptor that holds the data folder as long as any process keeps it open.

    Raises Conflict when a live stack holds the folder.
    """
    descriptor = os.open(stack.data / "stack.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(
            "embedded:already_running",
            f"LoRAForge is already running on {stack.data} ({stack.url}). "
            "Stop it with `make down`, or set LORAFORGE_DATA and LORAFORGE_PORT for a second one.",
        ) from None
    os.set_inheritable(descriptor, True)  # noqa: FBT003 - its only form
    return descriptor


def is_live(stack: Stack) -> bool:
    """True when a stack holds the data folder."""
    try:
        os.close(lock_take(stack))
    except Conflict:
        return True
    return False


def _socket_folder(stack: Stack, name: str) -> None:
    """``<data>/<name>/<name>.sock``, which nobody else may open. Raises Conflict when its path is too long."""
    folder = stack.data / name
    folder.mkdir(mode=0o700, exist_ok=True)
    if len(str(folder / f"{name}.sock").encode()) > SOCKET_PATH_MAX:
        raise Conflict(
            "embedded:path_too_long",
            f"The path of LORAFORGE_DATA ({stack.data}) is too long for a unix socket; choose a shorter one.",
        )


def _redis_server(stack: Stack) -> str:
    _socket_folder(stack, "redis")
    command = [sys.executable, str(BASE_DIR / "tools" / "redis_fetch.py"), str(BASE_DIR / ".redis")]
    found = subprocess.run(command, check=False, capture_output=True, text=True)
    if found.returncode:
        raise Unavailable(
            "embedded:no_redis", f"No Redis could be found or fetched: {found.stderr.strip()}"
        )
    return found.stdout.strip().splitlines()[-1]


def _static_fingerprint() -> str:
    folder = BASE_DIR / "static"
    entries = sorted(
        f"{path.relative_to(folder)} {path.stat().st_size} {path.stat().st_mtime_ns}"
        for path in folder.rglob("*")
        if path.is_file()
    )
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def _static_collect(stack: Stack) -> None:
    stamp = stack.data / "staticfiles.stamp"
    fingerprint = _static_fingerprint()
    if stamp.exists() and stamp.read_text(encoding="ascii") == fingerprint:
        return
    call_command("collectstatic", interactive=False, verbosity=0, clear=True)
    stamp.write_text(fingerprint, encoding="ascii")


def _node_ensure(stack: Stack) -> None:
    """The stack's own node and its token, made once."""
    token_file = stack.data / "node.token"
    if token_file.exists() and Node.objects.filter(name=NODE_NAME).exists():
        return
    _node, token = node_add(actor=None, name=NODE_NAME)
    descriptor = os.open(token_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(token)


def runtime_of(stack: Stack) -> str:
    """LORAFORGE_RUNTIME, else what the demo chose for this data folder, else ``auto``."""
    chosen = stack.data / "runtime"
    if env.str("LORAFORGE_RUNTIME", default=""):
        return str(settings.RUNTIME)
    return chosen.read_text(encoding="ascii").strip() if chosen.exists() else "auto"


def private_make(stack: Stack) -> None:
    """Close to other accounts of this machine what holds passwords, sessions, datasets and logs."""
    for name in ("logs", "storage"):
        folder = stack.data / name
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
    for path in stack.data.glob("loraforge.sqlite3*"):
        path.chmod(0o600)


def host_here() -> str:
    """The address that the pages are served on."""
    return str(env.str("LORAFORGE_HOST", default="127.0.0.1"))


def port_check(stack: Stack) -> None:
    """Raise Conflict when the pages cannot be served: otherwise nobody would hear why they never come."""
    try:
        family = socket.getaddrinfo(host_here(), stack.port, type=socket.SOCK_STREAM)[0][0]
        socket.create_server((host_here(), stack.port), family=family).close()
    except OSError as error:
        raise Conflict(
            "embedded:port_taken",
            f"Port {stack.port} of {host_here()} cannot be used: {error.strerror or error}. "
            "End what has it, or choose another with LORAFORGE_PORT (and LORAFORGE_HOST).",
        ) from error


def stack_prepare(stack: Stack) -> dict[str, str]:
    """Everything that must be there before the services start; gives their environment."""
    port_check(stack)
    private_make(stack)
    embedded_redis = not env.str("REDIS_URL", default="")
    redis_server = _redis_server(stack) if embedded_redis else "/bin/false"
    _socket_folder(stack, "flower")
    call_command("migrate", interactive=False, verbosity=0)
    private_make(stack)
    _static_collect(stack)
    _node_ensure(stack)
    return {
        **env.ENVIRON,
        "DJANGO_SETTINGS_MODULE": settings.SETTINGS_MODULE,
        "LORAFORGE_DATA": str(stack.data),
        "LORAFORGE_PORT": str(stack.port),
        "LORAFORGE_RUNTIME": runtime_of(stack),
        # Whose X-Forwarded-For uvicorn believes. By default it believes this machine, so every account of it
        # could guess passwords as ever another caller.
        "FORWARDED_ALLOW_IPS": env.str("LORAFORGE_PROXIES", default="none"),
        "LF_PYTHON": sys.executable,
        "LF_HOST": host_here(),
        "LF_NODE": NODE_NAME,
        "LF_REDIS_SERVER": redis_server,
        "LF_EMBEDDED_REDIS": "true" if embedded_redis else "false",
    }


def supervisor_command() -> list[str]:
    """supervisord in the foreground, over all services."""
    return [*_supervisor("supervisord"), "--nodaemon"]


def stack_start_background(stack: Stack) -> "subprocess.Popen[bytes]":
    """Start all services and return at once; the child holds the lock. Raises Conflict when already live."""
    lock = lock_take(stack)
    try:
        environment = stack_prepare(stack)
        with (stack.data / "logs" / "stack.log").open("ab") as log:
            return subprocess.Popen(
                supervisor_command(),
                cwd=BASE_DIR,
                env=environment,
                pass_fds=(lock,),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
    finally:
        os.close(lock)


def stack_wait_ready(stack: Stack, *, since: datetime, timeout_s: float = READY_TIMEOUT_S) -> None:
    """Return when the web answers and the stack's own node has joined it.

    since: when the services began to start; a node that SQL calls online from before may be dead.
    Raises Unavailable with what is wrong and where to look, at once when the node was refused or all has ended.
    """
    deadline = time.monotonic() + timeout_s
    look_at = time.monotonic() + AGENT_LOOK_S
    while time.monotonic() < deadline and is_live(stack):
        joined = Node.objects.filter(name=NODE_NAME, state="online", joined_at__gte=since)
        if _web_ready(stack) and joined.exists():
            return
        if time.monotonic() >= look_at:
            _agent_check(stack)
            look_at = time.monotonic() + AGENT_LOOK_S
        time.sleep(0.1)
    found = f"were not ready within {timeout_s:.0f} s" if is_live(stack) else "have ended"
    raise Unavailable(
        "embedded:not_ready", f"The services {found}; look into {stack.data / 'logs'}."
    )


def _agent_check(stack: Stack) -> None:
    """Raise Unavailable, with its last words, when the node's agent has given up: nobody starts it again."""
    command = [*_supervisor("supervisorctl"), "status", "nodeagent"]
    environment = {**env.ENVIRON, "LORAFORGE_DATA": str(stack.data)}
    found = subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=BASE_DIR
    )
    if "EXITED" not in found.stdout:
        return
    path = stack.data / "logs" / "nodeagent.log"
    said = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    raise Unavailable(
        "embedded:node_refused",
        f"This machine's own node did not join: {said[-1] if said else 'it said nothing'} ({path}). "
        "The pages are served all the same; after mending it, `make down` and start again.",
    )


def _supervisor(program: str) -> list[str]:
    configuration = str(BASE_DIR / "supervisord.conf")
    return [str(Path(sys.executable).parent / program), "--configuration", configuration]


def _web_ready(stack: Stack) -> bool:
    try:
        return httpx.get(f"{stack.url}/readyz", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def supervisor_pid(stack: Stack) -> int | None:
    """The pid of the live stack's supervisord."""
    try:
        pid = int(stack.pid_file.read_text(encoding="ascii"))
        os.kill(pid, 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        return None
    return pid


def stack_stop(stack: Stack, *, timeout_s: float = 60) -> bool:
    """Stop all services; trainings go on. False when none ran. Raises Unavailable when they do not end."""
    if not is_live(stack):
        return False
    pid = supervisor_pid(stack)
    if pid is not None:
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + timeout_s
    while is_live(stack):
        if time.monotonic() > deadline:
            raise Unavailable(
                "embedded:not_stopped",
                f"The services did not end within {timeout_s:.0f} s; look into {stack.data / 'logs'}.",
            )
        time.sleep(0.1)
    return True


def goes_on_text() -> str:
    """What an end of the services leaves running, as a line; empty when nothing."""
    begun = [str(state) for state in (State.PREPARING, State.RUNNING, State.STOPPING)]
    running = Instance.objects.filter(state__in=begun, deleted_at=None).count()
    if not running:
        return ""
    return (
        f"{running} training(s) go on, as far as is known; `make up` takes them up again, "
        "`make down ARGS=--jobs` ends them.\n"
    )


def docker_answers() -> bool:
    """True when a Docker engine answers on this machine."""
    docker = shutil.which("docker")
    if docker is None:
        return False
    found = subprocess.run(
        [docker, "info", "--format", "{{json .ServerVersion}}"], check=False, capture_output=True
    )
    try:
        return found.returncode == 0 and bool(json.loads(found.stdout or b'""'))
    except ValueError:
        return False
