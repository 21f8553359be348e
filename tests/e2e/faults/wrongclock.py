"""Runs the node agent on a machine whose clock is off by what a file says, from one moment to the next.

    python wrongclock.py FILE ARGUMENTS...

Only the clock on the wall is wrong, as when somebody sets it: the monotonic one goes on. Not libfaketime:
its version 0.9.10 makes Python's time.sleep, which sleeps until a monotonic time, fail with EINVAL.
"""

import datetime
import runpy
import sys
import time
from pathlib import Path
from typing import Self

_file = Path(sys.argv[1])
_time = time.time


def _wrong() -> float:
    return _time() + float(_file.read_text(encoding="ascii"))


class _WrongDatetime(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(_wrong(), tz)


time.time = _wrong
time.time_ns = lambda: int(_wrong() * 1e9)
datetime.datetime = _WrongDatetime  # type: ignore[misc]

sys.argv = ["nodeagent", *sys.argv[2:]]
sys.path.insert(0, str(Path.cwd()))
runpy.run_module("nodeagent", run_name="__main__")
