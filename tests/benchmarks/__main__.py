"""``python -m tests.benchmarks [NAME...]``: measures, prints JSON, and keeps it as var/bench.json."""

import argparse
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from tests.benchmarks import (
    fanout,
    files,
    heartbeats,
    ingest,
    joblist,
    live,
    memory,
    outages,
    preview,
    schedule,
    screen,
    validation,
)
from tests.benchmarks.running import Running, running
from tests.benchmarks.stage import ROOT, Stage, stage
from tools.postgres import Postgres

# On the whole stack as `make up` starts it; memory comes first, while it is fresh.
WHOLE: dict[str, Callable[[Running], dict[str, Any]]] = {
    "memory": memory.run,
    "line": live.line,
    "state": live.state,
    "start": live.start,
    "screen": screen.run,
    "list": joblist.run,
    "preview": preview.run,
    "detection": outages.detection,
    "recovery": outages.recovery,
    "node_log": outages.node_log,
}
# On a database, a Redis and a web process alone.
PARTS: dict[str, Callable[[Stage], dict[str, Any]]] = {
    "ingest": ingest.run,
    "fanout": fanout.run,
    "files": files.run,
    "heartbeats": heartbeats.run,
    "schedule": schedule.run,
    "validation": validation.run,
}
GROUPS = {
    "live": ["line", "state", "start"],
    "faults": ["detection", "recovery", "node_log", "heartbeats"],
}


def main() -> None:
    """The parts that were named, one after the other, in the order of the tables above."""
    parser = argparse.ArgumentParser(description=__doc__)
    known = [*WHOLE, *PARTS]
    parser.add_argument("names", nargs="*", choices=[*known, *GROUPS, []], help="default: all")
    parser.add_argument(
        "--postgres", action="store_true", help="on a PostgreSQL of its own; default: SQLite"
    )
    parser.add_argument(
        "--docker", action="store_true", help="jobs in containers; default: plain processes"
    )
    options = parser.parse_args()
    asked = options.names or known
    names = [name for one in asked for name in GROUPS.get(one, [one])]
    runtime = "docker" if options.docker else "process"
    found: dict[str, Any] = {
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "database": "postgresql" if options.postgres else "sqlite",
        "runtime": runtime,
        "load_1m_before": round(os.getloadavg()[0], 2),
    }
    with _database(postgres=options.postgres):
        _measure(names, WHOLE, partial(running, runtime=runtime), found)
    with _database(postgres=options.postgres):
        _measure(names, PARTS, stage, found)
    found["load_1m_after"] = round(os.getloadavg()[0], 2)
    text = msgspec.json.format(msgspec.json.encode(found), indent=2)
    print(text.decode())
    (ROOT / "var").mkdir(exist_ok=True)
    (ROOT / "var" / "bench.json").write_bytes(text)


@contextmanager
def _database(*, postgres: bool) -> Iterator[None]:
    """DATABASE_URL of a new PostgreSQL that writes its commits to the disk, or of nothing: SQLite."""
    if not postgres:
        yield
        return
    with (
        tempfile.TemporaryDirectory(prefix="lf-postgres-") as folder,
        Postgres(Path(folder), durable=True) as server,
    ):
        os.environ["DATABASE_URL"] = server.url
        yield
        del os.environ["DATABASE_URL"]


def _measure(
    names: list[str], parts: dict[str, Any], place: Callable[[], Any], found: dict[str, Any]
) -> None:
    """Those of the parts that are asked for, in one place that is made for them."""
    wanted = [name for name in parts if name in names]
    if not wanted:
        return
    with ExitStack() as stack:
        installation = stack.enter_context(place())
        for name in wanted:
            found[name] = parts[name](installation)


if __name__ == "__main__":
    main()
