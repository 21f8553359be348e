"""What the supervisor hands to each run."""

from concurrent.futures import Executor
from pathlib import Path

import msgspec

from nodeagent.reporter import Reporter
from nodeagent.runtimes.base import Runtime
from nodeagent.supervisor.closing import Manifests
from nodeagent.supervisor.outbox import Outbox
from nodeagent.transfer.inputs import Fetcher


class Parts(msgspec.Struct, frozen=True, kw_only=True):
    """What every run needs, given once."""

    node: str
    boot_id: str
    runtime: Runtime
    fetcher: Fetcher
    reporter: Reporter
    outbox: Outbox
    manifests: Manifests
    pool: Executor
    model_roots: tuple[Path, ...]
