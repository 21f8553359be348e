"""A whole installation to break: PostgreSQL, Redis, every service a process of its own, two nodes on a network."""

import json
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import redis

from loraforge.embedded.client import ApiClient, ApiError
from nodeagent.runtimes.container import LABEL_DEVICES, LABEL_INSTANCE
from tests.e2e.driver import PASSWORD, REPOSITORY, SWIFT_PYTHON, free_port, sft_body, wait_for
from tests.e2e.faults.network import Machine
from tests.e2e.faults.processes import Keeper, Service, jobs_end
from tests.redisserver import RedisServer
from tools.postgres import Postgres

if TYPE_CHECKING:
    import docker

NODES = ("n1", "n2")
SET_WRONG = "n2"  # the node whose clock can be set wrong
WRONG_CLOCK = Path(__file__).with_name("wrongclock.py")
AGENT_PORT = 7070
SLOTS = 4
# Shorter than in real use, so that a case takes seconds; the order and the gaps between them are kept.
TIMES = {
    "LORAFORGE_NODE_SUSPECT_S": "12",
    "LORAFORGE_NODE_OFFLINE_S": "20",
    "LORAFORGE_NODE_LOST_S": "45",
    "LORAFORGE_RESTART_GRACE_S": "15",
    "LORAFORGE_STOP_GRACE_S": "10",
}
PLANE = ("web", "control", "relay", "ingest", "beat")


class Node:
    """A machine with a node agent. The agent's clock is off by what `clock_set` says."""

    def __init__(self, name: str, number: int, data: Path) -> None:
        self.name = name
        self.machine = Machine(number)
        self.folder = data / name
        self.agent: Service
        self.clock_file = data / f"{name}.clock"

    def clock_set(self, seconds: float) -> None:
        """While the agent runs; its monotonic clock stays true, as that of a machine does."""
        fresh = self.clock_file.with_suffix(".new")
        fresh.write_text(str(seconds), encoding="ascii")
        fresh.rename(self.clock_file)

    def job_folder(self, job: int, attempt: int = 1) -> Path:
        return self.folder / "jobs" / str(job) / f"a{attempt}"


class Cluster:
    """What runs, what was accepted, and what was asked of it."""

    def __init__(
        self, data: Path, demo: Path, postgres: Postgres, redis_server: RedisServer
    ) -> None:
        self.data = data
        self.demo = demo
        self.postgres = postgres
        self.redis_server = redis_server
        self.port = free_port()
        self.keeper = Keeper()
        self.plane: dict[str, Service] = {}
        self.nodes = {name: Node(name, number, data) for number, name in enumerate(NODES)}
        self.accepted: dict[int, str] = {}
        self.asked: list[
            tuple[int, str]
        ] = []  # what was asked for beside submits: job, audit's word
        self.secrets = {"secret key": secrets.token_urlsafe(64), "password": PASSWORD}
        self.environment: dict[str, str] = {}
        self._asker = self.api(timeout_s=20)
        self.engine: docker.APIClient | None = None
        for name in ("logs", "plane"):
            (data / name).mkdir(exist_ok=True)

    # -- life

    def prepare(self, **settings: str) -> None:
        """The environment, the tables, the users and the nodes."""
        gateway = self.nodes["n1"].machine.gateway
        left_out = ("DJANGO_", "LORAFORGE_", "DATABASE_URL", "REDIS_URL")
        inherited = {
            key: value for key, value in os.environ.items() if not key.startswith(left_out)
        }
        own = self.redis_server.url()
        self.environment = inherited | TIMES | {
            "DJANGO_SETTINGS_MODULE": "loraforge.settings.prod",
            "DATABASE_URL": self.postgres.url,
            "REDIS_URL": own,
            "LORAFORGE_AGENT_REDIS_URL": f"redis://{gateway}:{self.redis_server.port}/0",
            "LORAFORGE_REDIS_NODE_ACL": "true",
            "LORAFORGE_DATA": str(self.data / "plane"),
            "LORAFORGE_PORT": str(self.port),
            "LORAFORGE_SECRET_KEY": self.secrets["secret key"],
            "LORAFORGE_ALLOWED_HOSTS": ",".join(
                ["127.0.0.1", *(node.machine.gateway for node in self.nodes.values())]
            ),
            "LORAFORGE_SSL_REDIRECT": "false",
            "LORAFORGE_MODEL_ROOTS": str(self.demo),
            "LORAFORGE_MAX_RUNNING": str(SLOTS * len(NODES)),
            "LORAFORGE_MAX_RUNNING_PER_USER": str(SLOTS * len(NODES)),
            "PYTHONUNBUFFERED": "1",
            **settings,
        }  # fmt: skip
        self.secrets["redis password"] = own.split(":")[2].partition("@")[0]
        tokens = self._prepared().split()
        self.secrets |= {
            f"token of {name}": token for name, token in zip(NODES, tokens, strict=True)
        }

    def _prepared(self) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.e2e.faults.prepare", *NODES],
            cwd=REPOSITORY,
            env={**self.environment, "LORAFORGE_PASSWORD": PASSWORD},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    def _service(self, name: str, *command: str, **extra: str) -> Service:
        log = self.data / "logs" / f"{name}.log"
        service = Service(name, list(command), environment={**self.environment, **extra}, log=log)
        self.keeper.services.append(service)
        return service

    def plane_start(self) -> None:
        """Every service of the control plane, each alone."""
        python = sys.executable
        self.plane["web"] = self._service(
            "web", python, "-m", "uvicorn", "loraforge.asgi:application", "--host", "0.0.0.0",
            "--port", str(self.port), "--ws", "websockets-sansio", "--no-access-log",
            "--no-server-header", "--timeout-graceful-shutdown", "5",
        )  # fmt: skip
        self.plane["control"] = self._service(
            "control", python, "-m", "celery", "--app", "loraforge.core.celery", "worker",
            "--queues", "control", "--pool", "threads", "--concurrency", "4", "--hostname",
            "control@%h", "--without-gossip", "--without-mingle", "--task-events", "--loglevel", "WARNING",
        )  # fmt: skip
        for name in ("relay", "ingest", "beat"):
            self.plane[name] = self._service(
                name, python, "manage.py", "core_services", "--only", name
            )
        for service in self.plane.values():
            service.start()
        self.keeper.start()
        wait_for("the API", self.answers)

    def node_start(self, name: str, *, runtime: str = "process", **extra: str) -> None:
        """Its machine, and the agent on it."""
        node = self.nodes[name]
        node.clock_set(0)
        program = ["-m", "nodeagent"]
        if name == SET_WRONG:
            program = [str(WRONG_CLOCK), str(node.clock_file)]
        node.agent = self._service(
            f"agent-{name}",
            *node.machine.prefix(),
            sys.executable, *program, "--name", name, "--runtime", runtime,
            "--server", f"http://{node.machine.gateway}:{self.port}", "--data", str(node.folder),
            "--listen", f"{node.machine.address}:{AGENT_PORT}", "--cpu-slots", str(SLOTS),
            "--model-root", str(self.demo),
            **{
                "LORAFORGE_NODE_TOKEN": self.secrets[f"token of {name}"],
                "LORAFORGE_SWIFT_PYTHON": str(SWIFT_PYTHON),
                **extra,
            },
        )  # fmt: skip
        node.agent.environment.pop("LORAFORGE_SECRET_KEY")
        node.agent.start()
        wait_for(
            f"{name} to be online",
            lambda: node.agent.ends or self.node_state(name) == "online",
        )
        assert not node.agent.ends, node.agent.log.read_text()[-2000:]

    def close(self) -> None:
        self.keeper.stop()
        self._asker.__exit__()

    # -- asking

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def api(self, name: str = "alice", *, timeout_s: float = 30) -> ApiClient:
        return ApiClient(base_url=self.url, username=name, password=PASSWORD, timeout_s=timeout_s)

    def answers(self) -> bool:
        """Asked by one who is signed in: to sign in anew each time is what keeps a busy machine from answering."""
        try:
            self._asker.get("me/")
        except (ApiError, httpx.HTTPError):
            return False
        return True

    def sql(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.postgres.url, autocommit=True) as connection:
            return connection.execute(query.encode(), values).fetchall()

    def redis(self) -> "redis.Redis":
        return redis.Redis.from_url(self.redis_server.url(), socket_timeout=5)

    def node_state(self, name: str) -> str:
        return str(self.sql("select state from nodes_node where name = %s", name)[0][0])

    def heard(self) -> None:
        """Return when every node has been heard anew."""
        now = self.sql("select now()")[0][0]
        query = "select count(*) from nodes_node where state = 'online' and seen_at > %s"
        wait_for("all nodes to be heard", lambda: self.sql(query, now)[0][0] == len(self.nodes))

    def job_state(self, job: int) -> str:
        return str(self.sql("select state from instances_instance where id = %s", job)[0][0])

    def node_of(self, job: int) -> Node:
        found = self.sql(
            "select n.name from nodes_node n join instances_instance i on i.node_id = n.id where i.id = %s",
            job,
        )
        return self.nodes[found[0][0]]

    def step(self, job: int) -> int:
        return int(self.sql("select step from instances_instance where id = %s", job)[0][0])

    def await_job(self, job: int, *states: str, timeout_s: float = 90) -> None:
        wait_for(
            f"job {job} to be {states}", lambda: self.job_state(job) in states, timeout_s=timeout_s
        )

    def await_node(self, name: str, state: str, *, timeout_s: float = 120) -> None:
        wait_for(
            f"{name} to be {state}", lambda: self.node_state(name) == state, timeout_s=timeout_s
        )

    def await_step(self, job: int, step: int, *, timeout_s: float = 120) -> None:
        """Fails at once when the job has failed."""
        wait_for(
            f"step {step} of job {job}",
            lambda: self.step(job) >= step or self.job_state(job) == "failed",
            timeout_s=timeout_s,
        )
        assert self.step(job) >= step, self.sql(
            "select failure_reason, failure_detail from instances_instance where id = %s", job
        )

    def containers(self) -> list[str]:
        """Names of the jobs' containers that run on the engine of this installation, where it has one."""
        if self.engine is None:
            return []
        found = self.engine.containers(filters={"label": LABEL_INSTANCE})
        return [one["Names"][0].lstrip("/") for one in found]

    def inspected(self) -> str:
        """All that the engine tells of its containers."""
        if self.engine is None:
            return ""
        rows = self.engine.containers(all=True)
        return json.dumps([self.engine.inspect_container(row["Id"]) for row in rows])

    def container_devices(self) -> list[tuple[int, set[str]]]:
        """Of each running container its job, and the devices that it was given."""
        if self.engine is None:
            return []
        labels = [
            one["Labels"] for one in self.engine.containers(filters={"label": LABEL_INSTANCE})
        ]
        return [(int(one[LABEL_INSTANCE]), set(one[LABEL_DEVICES].split(","))) for one in labels]

    def redis_told(self) -> str:
        """All that lies in Redis."""
        client: Any = self.redis()
        read = {
            b"string": client.get,
            b"hash": client.hgetall,
            b"set": client.smembers,
            b"list": lambda key: client.lrange(key, 0, -1),
            b"zset": lambda key: client.zrange(key, 0, -1),
            b"stream": client.xrange,
        }
        # one that expired meanwhile has the type "none"
        found = [(key, read.get(client.type(key), repr)(key)) for key in client.scan_iter()]
        return repr(found)

    def api_told(self) -> str:
        """What the API says of jobs and nodes."""
        places = ["me/", "jobs/", "nodes/"]
        if self.accepted:
            newest = max(self.accepted)
            places += [f"jobs/{newest}/", f"jobs/{newest}/events/"]
        with self.api() as api:
            return json.dumps([api.get(place) for place in places])

    # -- doing

    def submit(
        self,
        api: ApiClient,
        dataset: int,
        *,
        key: str = "",
        node: str = "",
        on_node_lost: str = "",
        **arguments: Any,
    ) -> int:
        """Accepted once the API says so; remembered for the invariants."""
        body = sft_body(self.demo, dataset, name=key or secrets.token_hex(6), arguments=arguments)
        if node:
            body["node"] = node
        if on_node_lost:
            body["on_node_lost"] = on_node_lost
        headers = {"Idempotency-Key": key} if key else {}
        job = int(api.post("jobs/", body, **headers)["id"])
        self.accepted[job] = body["name"]
        return job

    def node_cordon(self, name: str, *, cordoned: bool) -> None:
        with self.api("carol") as api:
            api.post(f"nodes/{name}/{'cordon' if cordoned else 'uncordon'}/")

    def ask(self, api: ApiClient, job: int, verb: str) -> None:
        """stop, cancel or checkpoint."""
        api.post(f"jobs/{job}/{verb}/")
        word = {"stop": "instances:stop_save", "cancel": "instances:stop_now"}.get(
            verb, f"instances:{verb}"
        )
        self.asked.append((job, word))


class Visitor:
    """Somebody who looks at the list of jobs all the time: how long it took, and what was answered."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.took_s: list[float] = []
        self.bad: list[str] = []

    def _run(self) -> None:
        with self._cluster.api(timeout_s=90) as api:
            while not self._stopping.wait(0.25):
                began = time.monotonic()
                try:
                    api.get("jobs/")
                except ApiError as error:
                    if error.status >= 500 and (error.status != 503 or not error.error_id):
                        self.bad.append(str(error))
                except Exception as error:  # the web process itself may be the one that was killed
                    if "web" not in self._excused:
                        self.bad.append(repr(error))
                self.took_s.append(time.monotonic() - began)

    _excused: frozenset[str] = frozenset()

    def excuse(self, service: str) -> None:
        self._excused = self._excused | {service}

    def __enter__(self) -> "Visitor":
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stopping.set()
        self._thread.join()


@contextmanager
def cluster_running(
    data: Path, demo: Path, redis_binary: Path, **settings: str
) -> Iterator[Cluster]:
    """Everything but the nodes' agents, which a test starts as it needs them."""
    for folder in ("postgres", "redis"):
        (data / folder).mkdir(exist_ok=True)
    with (
        Postgres(data / "postgres") as postgres,
        RedisServer(redis_binary, data / "redis", bind="0.0.0.0") as server,
    ):
        cluster = Cluster(data, demo, postgres, server)
        try:
            for node in cluster.nodes.values():
                node.machine.create()
            cluster.prepare(**settings)
            cluster.plane_start()
            yield cluster
        finally:
            cluster.close()
            jobs_end(data)
            for node in cluster.nodes.values():
                node.machine.remove()
