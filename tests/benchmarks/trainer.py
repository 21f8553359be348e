"""Stands in for the training environment's Python, so that the platform is measured and not SWIFT.

The node agent starts it as ``trainer -m swift.cli.sft --max_steps N --output_dir D ...``. It writes N
lines, about 50 a second, each beginning with ``@`` and the clock at which it was written, and every tenth
a row of SWIFT's logging.jsonl. Nothing but the standard library: it runs with whatever Python there is.
"""

import time

STARTED_NS = time.monotonic_ns()  # before anything else is imported

import json  # noqa: E402
import random  # noqa: E402
import sys  # noqa: E402
from pathlib import Path  # noqa: E402

PAUSE_S = 0.02
METRIC_EVERY = 10
FLOOD = 100_000  # a multiple of so many lines is written as fast as it goes


def argument(name: str) -> str:
    """Of the command line, empty when it is not there."""
    words = sys.argv[1:]
    return words[words.index(name) + 1] if name in words else ""


def main() -> None:
    """Write, line by line."""
    steps = int(argument("--max_steps") or 1)
    paced = steps % FLOOD != 0
    output = argument("--output_dir")
    print(f"@{STARTED_NS} started", flush=True)
    for step in range(1, steps + 1):
        # Not in step with anybody's polling.
        if paced:
            time.sleep(random.uniform(0.5, 1.5) * PAUSE_S)
        print(f"@{time.monotonic_ns()} {{'loss': '1.2345', 'grad_norm': '0.9876'}}", flush=True)
        if output and step % METRIC_EVERY == 0:
            row = {"loss": 1.2345, "grad_norm": 0.9876, "global_step/max_steps": f"{step}/{steps}"}
            with (Path(output) / "logging.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
    print(f"@{time.monotonic_ns()} ended", flush=True)


if __name__ == "__main__":
    main()
