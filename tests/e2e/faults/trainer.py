#!/usr/bin/env python3
"""Stands in for the training environment's Python where a thousand jobs are submitted; for nothing else.

It writes down that it started (one line for each start, with the folder locked while it runs, so that a
second one at the same time shows), some lines, and ends. Only the standard library.
"""

import fcntl
import os
import sys
import time
from pathlib import Path

LINES = 20


def main() -> int:
    words = sys.argv[1:]
    folder = Path(words[words.index("--output_dir") + 1]).parent
    with (folder / "starts").open("a", encoding="ascii") as starts:
        try:
            fcntl.flock(starts, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            starts.write("twice at once\n")
            return 1
        starts.write(f"{os.getpid()}\n")
        starts.flush()
        for number in range(LINES):
            print(f"line {number}", flush=True)
            time.sleep(0.01)
    return 0


if __name__ == "__main__":
    sys.exit(main())
