"""``python -m tests.benchmarks [NAME...]``: measures, prints JSON, and keeps it as var/bench.json."""

import argparse
import os
from collections.abc import Callable
from typing import Any

import msgspec

from tests.benchmarks import fanout, files, ingest
from tests.benchmarks.stage import ROOT, Stage, stage

PARTS: dict[str, Callable[[Stage], dict[str, Any]]] = {
    "ingest": ingest.run,
    "fanout": fanout.run,
    "files": files.run,
}


def main() -> None:
    """Each part on the same throw-away installation, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", choices=[*PARTS, []], help="all of them without a name")
    names = parser.parse_args().names or list(PARTS)
    found: dict[str, Any] = {"cpus": os.cpu_count(), "load_1m_before": round(os.getloadavg()[0], 2)}
    with stage() as place:
        for name in names:
            found[name] = PARTS[name](place)
    text = msgspec.json.format(msgspec.json.encode(found), indent=2)
    print(text.decode())
    (ROOT / "var").mkdir(exist_ok=True)
    (ROOT / "var" / "bench.json").write_bytes(text)


if __name__ == "__main__":
    main()
