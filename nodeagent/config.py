"""Settings of the node agent, from the command line and the environment.

This is the only module of the agent that reads the environment.
"""

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from nodeagent.linecap import LINES_PER_JOB, LINES_PER_NODE

REPOSITORY = Path(__file__).resolve().parent.parent
PLUGIN_FOLDER = REPOSITORY / "nodeagent" / "swift_plugin"
DEFAULT_CPU_SLOTS = 2
LAST_PORT = 65_535

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")

# Where the model hubs are, for what fetches from them.
HUB_ADDRESSES = ("HF_ENDPOINT", "MODELSCOPE_ENDPOINT", "MODELSCOPE_DOMAIN")

# What a trainer inherits from the agent's environment. Everything else, the node token first of all,
# stays out of it.
TRAINER_INHERITS = (
    "PATH",
    "LANG",
    "LANGUAGE",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "LD_LIBRARY_PATH",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    *PROXIES,
)

# Seconds that a step of getting a job ready may take (LORAFORGE_PREPARE_<STEP>_S; 0 = as long as it
# takes). imports: until the trainer has loaded the plugin.
STEP_LIMITS_S: dict[str, float] = {
    "image": 7_200.0,
    "model": 21_600.0,
    "data": 21_600.0,
    "container": 600.0,
    "imports": 3_600.0,
}

SWIFT_IMAGE = "loraforge/swift:4.6.0"
JOB_ID = 10_001  # user and group of jobs in containers, where the agent may choose
JOB_MEMORY_PART = 0.9  # of the machine, for all jobs together
FEW_CPUS = 4

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?\Z", re.IGNORECASE)
_SIZE_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_NETWORK = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*\Z")
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


class ConfigError(ValueError):
    """A setting is missing or wrong; the text says which and what to do."""


class Containers(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator set about jobs' containers; None = made from what the machine has.

    user: (uid, gid). memory_bytes and cpus are for each device of a job. gpus: auto, nvidia, cdi or raw.
    """

    images: tuple[str, ...] = (SWIFT_IMAGE,)
    engine_url: str = "unix:///var/run/docker.sock"
    user: tuple[int, int] | None = None
    memory_bytes: int | None = None
    cpus: float | None = None
    pids: int = 4_096
    shm_bytes: int = 2 * 1024**3
    tmp_bytes: int = 1024**3
    network: str = "none"
    fetch_network: str = "bridge"
    hub_env: dict[str, str] = {}
    gpus: str = "auto"
    proxies: dict[str, str] = {}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """All that the agent is told from outside.

    folder: the agent's own data (journal, jobs, cache). cpu_slots: None = as many as the machine's
    GPUs suggest (none with GPUs, else 2). advertise: empty = made from the listening address.
    """

    name: str
    token: str
    server: str
    folder: Path
    runtime: str
    swift_python: Path
    listen_host: str = "127.0.0.1"
    listen_port: int = 0
    advertise: str = ""
    cpu_slots: int | None = None
    log_lines_per_job: int = LINES_PER_JOB  # a second that are sent; 0 = all
    log_lines_per_node: int = LINES_PER_NODE
    job_disk_bytes: int = 0  # what a job's folder may take; 0 = no limit
    model_roots: tuple[Path, ...] = ()
    plugin_folder: Path = PLUGIN_FOLDER
    trainer_env: dict[str, str] = {}
    containers: Containers = Containers()
    cache_max_bytes: int = 0  # 0 = as much as leaves a tenth of the disk free
    limits: dict[str, float] = msgspec.field(default_factory=lambda: dict(STEP_LIMITS_S))

    @property
    def cache(self) -> Path:
        """Folder of what is kept between jobs: inputs by hash, model downloads, HOME of trainers."""
        return self.folder / "cache"

    def slots(self, *, gpus: int) -> int:
        """How many CPU slots this node offers."""
        if self.cpu_slots is not None:
            return self.cpu_slots
        return 0 if gpus else DEFAULT_CPU_SLOTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m nodeagent",
        description="Runs LoRAForge's jobs on this machine.",
        allow_abbrev=False,
    )
    parser.add_argument("--name", help="name of this node (LORAFORGE_NODE_NAME)")
    parser.add_argument("--token", help="token of this node (better: LORAFORGE_NODE_TOKEN)")
    parser.add_argument("--token-file", help="file with the token of this node")
    parser.add_argument("--server", help="URL of the control plane (LORAFORGE_SERVER)")
    parser.add_argument("--data", help="folder of this agent (default: $LORAFORGE_DATA/node)")
    parser.add_argument("--runtime", choices=("auto", "docker", "process"))
    parser.add_argument("--listen", metavar="HOST:PORT", help="file service; default 127.0.0.1:0")
    parser.add_argument("--advertise", metavar="URL", help="where the control plane reaches it")
    parser.add_argument("--cpu-slots", type=int, help="jobs without GPU (LORAFORGE_CPU_SLOTS)")
    parser.add_argument("--model-root", action="append", metavar="DIR", default=[])
    return parser


def _token(given: argparse.Namespace, environ: Mapping[str, str]) -> str:
    if given.token:
        return str(given.token)
    if given.token_file:
        try:
            return Path(given.token_file).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigError(f"The token file cannot be read: {error}") from error
    return environ.get("LORAFORGE_NODE_TOKEN", "").strip()


def _listen(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > LAST_PORT:
        raise ConfigError(f"--listen needs HOST:PORT, not {text!r}.")
    return host.strip("[]") or "127.0.0.1", int(port)


def _roots(given: Sequence[str], environ: Mapping[str, str], data: Path) -> tuple[Path, ...]:
    named = list(given) or environ.get("LORAFORGE_MODEL_ROOTS", "").split(os.pathsep)
    roots = [Path(root).expanduser() for root in named if root.strip()]
    return tuple(path.absolute() for path in roots or [data / "models", data / "demo"])


def _required(value: str, what: str) -> str:
    if not value:
        raise ConfigError(f"{what} is missing.")
    return value


def _runtime(value: str) -> str:
    if value not in {"auto", "docker", "process"}:
        raise ConfigError(f"LORAFORGE_RUNTIME is auto, docker or process, not {value!r}.")
    return value


def size_bytes(text: str, *, what: str) -> int:
    """Bytes of a text like ``16g``, ``512MiB`` or ``1073741824``. Raises ConfigError."""
    found = _SIZE.match(text.strip())
    if found is None:
        raise ConfigError(f"{what} is a size like 16g or 512m, not {text!r}.")
    return int(float(found[1]) * 1024 ** _SIZE_POWERS[found[2].lower()])


def _number(text: str, *, what: str) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise ConfigError(f"{what} is a number, not {text!r}.") from error
    if value <= 0:
        raise ConfigError(f"{what} is more than 0, not {text!r}.")
    return value


def _job_user(text: str) -> tuple[int, int]:
    uid, _colon, gid = text.partition(":")
    if not uid.isdecimal() or not (gid or uid).isdecimal() or int(uid) == 0 or int(gid or uid) == 0:
        raise ConfigError(f"LORAFORGE_JOB_USER is UID:GID, neither of them 0, not {text!r}.")
    return int(uid), int(gid or uid)


def _network(text: str, *, name: str) -> str:
    """The name of a Docker network. Docker's other modes would put a job beside the agent. Raises ConfigError."""
    if text == "host" or not _NETWORK.match(text):
        raise ConfigError(
            f"{name} is none or the name of a Docker network of its own, not {text!r}: with host or "
            "container:... a job would reach this machine's own services. Make one with "
            "'docker network create', and name it here."
        )
    return text


def _containers(env: Mapping[str, str]) -> Containers:
    def given(name: str, default: str = "") -> str:
        return env.get(name, "").strip() or default

    def network(name: str, default: str) -> str:
        return _network(given(name, default), name=name)

    image = given("LORAFORGE_SWIFT_IMAGE", SWIFT_IMAGE)
    allowed = given("LORAFORGE_IMAGE_ALLOW").replace(",", " ").split()
    user, memory, cpus = (given(f"LORAFORGE_JOB_{name}") for name in ("USER", "MEMORY", "CPUS"))
    gpus = given("LORAFORGE_GPU_MODE", "auto")
    if gpus not in {"auto", "nvidia", "cdi", "raw"}:
        raise ConfigError(f"LORAFORGE_GPU_MODE is auto, nvidia, cdi or raw, not {gpus!r}.")
    return Containers(
        images=tuple(dict.fromkeys([image, *allowed])),
        engine_url=given("DOCKER_HOST", Containers().engine_url),
        user=_job_user(user) if user else None,
        memory_bytes=size_bytes(memory, what="LORAFORGE_JOB_MEMORY") if memory else None,
        cpus=_number(cpus, what="LORAFORGE_JOB_CPUS") if cpus else None,
        pids=int(_number(given("LORAFORGE_JOB_PIDS", "4096"), what="LORAFORGE_JOB_PIDS")),
        shm_bytes=size_bytes(given("LORAFORGE_JOB_SHM", "2g"), what="LORAFORGE_JOB_SHM"),
        tmp_bytes=size_bytes(given("LORAFORGE_JOB_TMP", "1g"), what="LORAFORGE_JOB_TMP"),
        network=network("LORAFORGE_JOB_NETWORK", "none"),
        fetch_network=network("LORAFORGE_FETCH_NETWORK", "bridge"),
        hub_env={key: env[key] for key in HUB_ADDRESSES if key in env},
        gpus=gpus,
        proxies={key: env[key] for key in PROXIES if key in env},
    )


def _limits(env: Mapping[str, str]) -> dict[str, float]:
    limits = dict(STEP_LIMITS_S)
    for step in limits:
        name = f"LORAFORGE_PREPARE_{step.upper()}_S"
        if text := env.get(name, "").strip():
            limits[step] = 0.0 if text == "0" else _number(text, what=name)
    return limits


def _slots(env: Mapping[str, str]) -> int | None:
    text = env.get("LORAFORGE_CPU_SLOTS", "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal():
        raise ConfigError(f"LORAFORGE_CPU_SLOTS is a whole number from 0, not {text!r}.")
    return int(text)


def _lines(env: Mapping[str, str], name: str, default: int) -> int:
    text = env.get(name, "").strip() or str(default)
    if not text.isascii() or not text.isdecimal():
        raise ConfigError(f"{name} is a whole number of lines a second from 0, not {text!r}.")
    return int(text)


def _server(url: str) -> str:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigError(f"The server must be an http or https URL, not {url!r}.")
    return url.rstrip("/")


def settings_read(
    argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None
) -> Settings:
    """Settings from the command line, then the environment, then defaults. Raises ConfigError."""
    env = os.environ if environ is None else environ
    given = _parser().parse_args(sys.argv[1:] if argv is None else list(argv))
    data = Path(env.get("LORAFORGE_DATA") or "./var").expanduser().absolute()
    name = _required(given.name or env.get("LORAFORGE_NODE_NAME", ""), "The node's name (--name)")
    if not _NAME.match(name):
        raise ConfigError(f"A node's name is lower-case letters, digits and hyphens, not {name!r}.")
    host, port = _listen(given.listen or env.get("LORAFORGE_NODE_LISTEN") or "127.0.0.1:0")
    python = env.get("LORAFORGE_SWIFT_PYTHON") or str(REPOSITORY / ".venv-swift/bin/python")
    return Settings(
        name=name,
        token=_required(_token(given, env), "The node's token (LORAFORGE_NODE_TOKEN)"),
        server=_server(
            _required(
                given.server or env.get("LORAFORGE_SERVER", ""),
                "The control plane's URL (--server)",
            )
        ),
        folder=Path(given.data).expanduser().absolute() if given.data else data / "node",
        runtime=_runtime(given.runtime or env.get("LORAFORGE_RUNTIME") or "auto"),
        swift_python=Path(python).expanduser().absolute(),
        listen_host=host,
        listen_port=port,
        advertise=(given.advertise or "").rstrip("/"),
        cpu_slots=given.cpu_slots if given.cpu_slots is not None else _slots(env),
        model_roots=_roots(given.model_root, env, data),
        trainer_env={key: env[key] for key in TRAINER_INHERITS if key in env},
        containers=_containers(env),
        cache_max_bytes=size_bytes(
            env.get("LORAFORGE_CACHE_MAX") or "0", what="LORAFORGE_CACHE_MAX"
        ),
        log_lines_per_job=_lines(env, "LORAFORGE_LOG_LINES_PER_JOB", LINES_PER_JOB),
        log_lines_per_node=_lines(env, "LORAFORGE_LOG_LINES_PER_NODE", LINES_PER_NODE),
        job_disk_bytes=size_bytes(env.get("LORAFORGE_JOB_DISK") or "0", what="LORAFORGE_JOB_DISK"),
        limits=_limits(env),
    )
