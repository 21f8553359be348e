"""What must hold after every fault, whatever it was: I1 to I10 of the promises, each read from the real thing.

Each check returns what is wrong, as text; nothing is wrong = an empty list. `settled` waits until all of
them are content, since the platform may take its time to converge, but not for ever.
"""

import json
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import pytest
import redis

from loraforge.embedded.client import ApiError
from loraforge.instances.states import ACTIVE, TERMINAL, State
from tests.e2e.faults.cluster import Cluster
from tests.e2e.faults.processes import members, trainers

if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE_S = 60.0  # I5's own figure; a slow machine gets it for the others too
RSS_SPARE_BYTES = 24 * 1024**2
FDS_SPARE = 12
CONNECTIONS_SPARE = 4
REDIS_SPARE_BYTES = 16 * 1024**2
GROWTH = 1.1
RECOVER = "instances:recover"  # by the platform itself
MOVE_STOP = "instances:stop_save"  # by the platform itself, once for each move
MOVES = (
    "select instance_id, count(*) from migration_migration where target_attempt is not null"
    " group by instance_id"
)
LITTLE_BYTES = 512  # of a log line, to show what is wrong


class Invariants:
    """Begun before the faults: it remembers how much everything took while all was well."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self._log_ends: dict[Path, int] = {}
        self._base: dict[str, tuple[int, int]] = {}
        self._connections = 0
        self._redis_bytes = 0
        self.mark()

    def mark(self) -> None:
        """Logs are judged from here on."""
        self._log_ends = {path: path.stat().st_size for path in self._logs()}

    def measure(self) -> None:
        """This is how much is normal."""
        self._base = self._use()
        self._connections = self._connection_count()
        self._redis_bytes = self._redis_use()

    def settled(self, what: str, *, patience_s: float = PATIENCE_S) -> None:
        """All hold now, or soon; then the next case begins."""
        deadline = time.monotonic() + patience_s
        while True:
            wrong = self.wrong()
            if not wrong:
                break
            if time.monotonic() > deadline:
                pytest.fail(f"after {what}:\n" + "\n".join(wrong))
            time.sleep(0.5)
        self.mark()

    def wrong(self) -> list[str]:
        """Everything that does not hold."""
        checks: list[Callable[[], list[str]]] = [
            self.jobs_known,
            self.one_trainer_each,
            self.leases_match,
            self.bytes_whole,
            self.outbox_empty,
            self.audit_whole,
            self.no_orphans,
            self.no_secrets,
            self.no_crashes,
            self.use_is_normal,
        ]
        return [f"I{number}: {text}" for number, check in enumerate(checks, 1) for text in check()]

    # -- I1 to I3: jobs, trainers, devices

    def jobs_known(self) -> list[str]:
        rows = dict(self.cluster.sql("select id, state from instances_instance"))
        legal = {str(state) for state in State}
        wrong = [
            f"job {job} was accepted and is gone" for job in self.cluster.accepted.keys() - rows
        ]
        wrong += [f"job {job} was never accepted" for job in rows.keys() - self.cluster.accepted]
        wrong += [f"job {job} is {state}" for job, state in rows.items() if state not in legal]
        unreachable = [job for job, state in rows.items() if state == State.UNKNOWN]
        return wrong + [f"job {job} is still unknown" for job in unreachable]

    def one_trainer_each(self) -> list[str]:
        by_job = Counter(self._alive())
        return [
            f"job {job} has {count} live trainers" for job, count in by_job.items() if count > 1
        ]

    def _alive(self) -> list[str]:
        """The job of each trainer that lives: a plain process or a container."""
        found = [
            Path(folder).parent.name
            for folder, pids in trainers(self.cluster.data).items()
            for _pid in pids
        ]
        return found + [name.split("-")[1] for name in self.cluster.containers()]

    def leases_match(self) -> list[str]:
        held = self.cluster.sql(
            "select i.id, i.state, n.name, l.device_uuid from instances_devicelease l"
            " join instances_attempt a on a.id = l.attempt_id join instances_instance i on i.id = a.instance_id"
            " join nodes_node n on n.id = l.node_id where l.released_at is null"
        )
        twice = Counter((node, uuid) for _job, _state, node, uuid in held)
        active = {str(state) for state in ACTIVE}
        wrong = [
            f"ended job {job} holds {uuid} of {node}"
            for job, state, node, uuid in held
            if state not in active
        ]
        wrong += [
            f"{uuid} of {node} is held {n} times" for (node, uuid), n in twice.items() if n > 1
        ]
        wrong += [
            f"job {job} was given {given}, and holds {found}"
            for job, given in self.cluster.container_devices()
            if given != (found := {uuid for one, _state, _node, uuid in held if one == job})
        ]
        leased = {str(job) for job, *_rest in held}
        alive = set(self._alive())
        running = {str(job) for job, state, *_rest in held if state == State.RUNNING}
        wrong += [f"job {job} trains without a lease" for job in alive - leased]
        return wrong + [f"job {job} is running and nothing trains" for job in running - alive]

    # -- I4: every byte, once

    def bytes_whole(self) -> list[str]:
        wrong = [
            f"put aside: {node}: {error}"
            for node, error in self.cluster.sql("select node, error from gateway_deadletter")
        ]
        attempts = self.cluster.sql(
            "select a.id, a.instance_id, a.number, n.name, i.state from instances_attempt a"
            " join instances_instance i on i.id = a.instance_id join nodes_node n on n.id = a.node_id"
            " where i.deleted_at is null"
        )
        for attempt, job, number, node, state in attempts:
            folder = self.cluster.nodes[node].job_folder(job, number)
            is_over = state in {str(one) for one in TERMINAL}
            wrong += [
                f"job {job}: {text}" for text in self._log_wrong(attempt, folder, is_over=is_over)
            ]
            wrong += [
                f"job {job}: {text}"
                for text in self._metrics_wrong(attempt, folder, is_over=is_over)
            ]
        return wrong

    def _log_wrong(self, attempt: int, folder: Path, *, is_over: bool) -> list[str]:
        path = folder / "console.log"
        if not path.exists():
            return []
        chunks = self.cluster.sql(
            'select start, "end", data from telemetry_logchunk where attempt_id = %s order by start',
            attempt,
        )
        position, stored = 0, bytearray()
        for start, end, data in chunks:
            if start != position or end - start != len(data):
                return [f"log: chunk [{start}, {end}) of {len(data)} bytes follows {position}"]
            stored += bytes(data)
            position = end
        written = path.read_bytes()
        if bytes(stored) != written[:position]:
            at = next(
                n for n, (one, two) in enumerate(zip(stored, written, strict=False)) if one != two
            )
            return [f"log: differs from byte {at}: {bytes(stored[at : at + LITTLE_BYTES])!r}"]
        if is_over and position != len(written):
            return [f"log: {position} of {len(written)} bytes are stored"]
        return []

    def _metrics_wrong(self, attempt: int, folder: Path, *, is_over: bool) -> list[str]:
        path = folder / "output" / "logging.jsonl"
        if not path.exists():
            return []
        rows = self.cluster.sql(
            'select start, "end", values from telemetry_metricrow where attempt_id = %s order by start',
            attempt,
        )
        written = path.read_bytes()
        lines = [line for line in written.split(b"\n")[:-1] if line.strip()]
        # the trainer's own counter is in each line; all lines up to the last stored one must be there
        own = [_without_history(json.loads(line)) for line in lines]
        stored = [row[2] if isinstance(row[2], dict) else json.loads(row[2]) for row in rows]
        if stored != own[: len(stored)]:
            return [f"metrics: {len(stored)} rows are not the first of the trainer's {len(own)}"]
        if is_over and len(stored) != len(own):
            return [f"metrics: {len(stored)} of {len(own)} rows are stored"]
        return []

    # -- I5 to I8: what waits, what was done, what is left, what must not be seen

    def outbox_empty(self) -> list[str]:
        rows = self.cluster.sql(
            "select target, now() - created_at from core_outboxmessage where created_at < now() - interval '2 seconds'"
        )
        return [f"{target} waits since {age}" for target, age in rows]

    def audit_whole(self) -> list[str]:
        rows = self.cluster.sql(
            "select object_pk, additional_data->>'what', actor_id from auditlog_logentry"
            " where additional_data->>'what' like 'instances:%%'",
        )
        found = Counter((int(job), what) for job, what, _actor in rows)
        wanted = Counter(self.cluster.asked)
        # each attempt behind the first is one that the platform made by itself: no case resumes a job
        attempts = "select id, attempt - 1 from instances_instance where attempt > 1"
        moves = dict(self.cluster.sql(MOVES))
        for job, count in self.cluster.sql(attempts):
            wanted[job, RECOVER] = count - moves.get(job, 0)
        for job, count in moves.items():
            wanted[job, MOVE_STOP] += count
        for job in self.cluster.accepted:
            wanted[job, "instances:create"] += 1
            wanted[job, "instances:queue"] += 1
        wrong = [
            f"{what} of job {job} by nobody"
            for job, what, actor in rows
            if actor is None and what != RECOVER and not (what == MOVE_STOP and int(job) in moves)
        ]
        return wrong + [
            f"{what} of job {job}: {found[job, what]} rows for {wanted[job, what]} times"
            for job, what in found.keys() | wanted.keys()
            if found[job, what] != wanted[job, what]
        ]

    def no_orphans(self) -> list[str]:
        wrong = []
        for node in self.cluster.nodes.values():
            folders = (node.folder / "jobs").glob("*")
            wrong += [f"{path} is of no job" for path in folders if not self._is_known(path.name)]
        over = {
            str(job) for job, in self.cluster.sql(
                "select id from instances_instance where state = any(%s)", [str(one) for one in TERMINAL]
            )
        }  # fmt: skip
        for pid, folder in members(self.cluster.data):
            job = Path(folder).parent.name
            if job in over or not self._is_known(job):
                wrong.append(f"process {pid} of job {job} is left")
        uploads = self.cluster.data / "plane" / "uploads"
        awaited = {
            str(row[0])
            for row in self.cluster.sql("select id from datasets_upload where dataset_id is null")
        }
        left = [path for path in uploads.glob("*") if path.is_file() and path.stem not in awaited]
        return wrong + [f"{path} is of no upload" for path in left]

    def _is_known(self, name: str) -> bool:
        return name.isdecimal() and int(name) in self.cluster.accepted

    def no_secrets(self) -> list[str]:
        wrong = []
        places = [
            *self._logs(),
            *(self.cluster.data / "redis").rglob("*.aof"),
            *(path for node in self.cluster.nodes.values() for path in node.folder.glob("journal.sqlite3*")),
        ]  # fmt: skip
        for path in places:
            data = path.read_bytes()
            wrong += [
                f"the {name} stands in {path}"
                for name, secret in self.cluster.secrets.items()
                if secret.encode() in data
            ]
        try:
            told = {
                "at the engine": self.cluster.inspected(),
                "in Redis": self.cluster.redis_told(),
                "from the API": self.cluster.api_told(),
            }
        except (ApiError, httpx.TransportError, redis.RedisError) as error:
            return [*wrong, f"not known yet: {error!r}"]
        return wrong + [
            f"the {name} can be read {where}"
            for name, secret in self.cluster.secrets.items()
            for where, text in told.items()
            if secret in text
        ]

    # -- I9, I10: nothing crashed, nothing grew

    def _logs(self) -> list[Path]:
        return sorted((self.cluster.data / "logs").glob("*.log"))

    def no_crashes(self) -> list[str]:
        wrong = []
        for path in self._logs():
            with path.open("rb") as file:
                file.seek(self._log_ends.get(path, 0))
                said = file.read()
            if b"Traceback" in said:
                at = said.index(b"Traceback")
                wrong.append(
                    f"{path.name}: ...{said[max(0, at - 300) : at + 3000].decode(errors='replace')}"
                )
        for service in self.cluster.keeper.services:
            if len(service.ends) != service.killed:
                wrong.append(f"{service.name} ended {service.ends}, killed {service.killed} times")
            if not service.runs:
                wrong.append(f"{service.name} does not run")
        return wrong

    def _use(self) -> dict[str, tuple[int, int]]:
        """Service -> resident bytes, descriptors."""
        found = {}
        for service in self.cluster.keeper.services:
            try:
                process = psutil.Process(service.pid)
                found[service.name] = (process.memory_info().rss, process.num_fds())
            except psutil.NoSuchProcess:
                continue
        return found

    def _connection_count(self) -> int:
        return int(
            self.cluster.sql(
                "select count(*) from pg_stat_activity where datname = current_database()"
            )[0][0]
        )

    def use_is_normal(self) -> list[str]:
        wrong = []
        for name, (rss, fds) in self._use().items():
            if name not in self._base:
                continue
            base_rss, base_fds = self._base[name]
            if rss > base_rss * GROWTH + RSS_SPARE_BYTES:
                wrong.append(f"{name} has {rss >> 20} MiB, before {base_rss >> 20}")
            if fds > base_fds * GROWTH + FDS_SPARE:
                wrong.append(f"{name} has {fds} descriptors, before {base_fds}")
        count = self._connection_count()
        if self._connections and count > self._connections * GROWTH + CONNECTIONS_SPARE:
            wrong.append(f"{count} connections to the database, before {self._connections}")
        used = self._redis_use()
        if self._redis_bytes and used > self._redis_bytes * GROWTH + REDIS_SPARE_BYTES:
            wrong.append(f"Redis has {used >> 20} MiB, before {self._redis_bytes >> 20}")
        return wrong

    def _redis_use(self) -> int:
        client: Any = self.cluster.redis()
        return int(client.info("memory")["used_memory"])


def _without_history(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != "log_history"}
