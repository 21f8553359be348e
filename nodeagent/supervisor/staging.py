"""What a start to come will need, had beforehand: a checkpoint from another node, datasets, a model, the image.

Nothing here is journalled. What was fetched lies in the caches, verified; an agent that starts anew is
told again, and goes on where the bytes end.
"""

import logging
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from nodeagent.contract.commands import Fetch, Stage
from nodeagent.contract.reports import Staged, staged_digest
from nodeagent.runtimes.base import Runtime, RuntimeAway, RuntimeFault
from nodeagent.supervisor.admission import Refusal, mounts_resolve
from nodeagent.supervisor.background import in_background
from nodeagent.supervisor.hub import HubCache
from nodeagent.transfer.inputs import Fetcher, TransferCancelled, TransferFault

if TYPE_CHECKING:
    from concurrent.futures import Future

log = logging.getLogger(__name__)

TOLD = 50  # the newest; older ones are forgotten


class _Work:
    """One command, and how far it is."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.input_bytes = sum(one.size_bytes for one in stage.inputs)
        self.done_bytes = 0
        self.total_bytes = self.input_bytes
        self.detail = ""
        self.future: Future[str] | None = None

    def told(self) -> Staged:
        digest, error, detail = "", "", self.detail
        if self.future is not None and self.future.done():
            digest, error, detail = _outcome(self.future)
        return Staged(
            id=self.stage.id,
            done_bytes=self.done_bytes,
            total_bytes=self.total_bytes,
            digest=digest,
            error=error,
            detail=detail,
        )

    def progress(self, *, done_bytes: int = 0, total_bytes: int = 0, detail: str = "") -> None:
        """As runtimes and the hub's cache tell it."""
        self.done_bytes = self.input_bytes + done_bytes
        self.total_bytes = self.input_bytes + total_bytes
        self.detail = detail


class Staging:
    """Thread-safe; each command in a thread of its own."""

    def __init__(
        self, *, fetcher: Fetcher, hub: HubCache, runtime: Runtime, model_roots: tuple[Path, ...]
    ) -> None:
        self._fetcher = fetcher
        self._hub = hub
        self._runtime = runtime
        self._roots = model_roots
        self._works: dict[str, _Work] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def stop(self) -> None:
        """Give up what is under way; the bytes that have come stay."""
        self._stopping.set()

    def take(self, stage: Stage) -> None:
        """Begin, or begin again after a failure; what is under way or done goes on as it is."""
        with self._lock:
            known = self._works.get(stage.id)
            if known is not None and not _has_failed(known):
                return
            work = _Work(stage)
            self._works[stage.id] = work
            for old in list(self._works)[:-TOLD]:
                del self._works[old]
            work.future = in_background(lambda: self._have(work), name=f"stage-{stage.id}")

    def told(self) -> list[Staged]:
        """For the heartbeat."""
        with self._lock:
            works = list(self._works.values())
        return [work.told() for work in works]

    def _have(self, work: _Work) -> str:
        """In a thread of its own: the digest of what is here, read back from the disk."""
        stage = work.stage
        began = time.monotonic()
        mounts_resolve(stage.mounts, self._roots)
        cancelled = self._stopping.is_set
        for wanted in stage.inputs:
            self._fetcher.stage(wanted, cancelled=cancelled)
            work.done_bytes += wanted.size_bytes
        digest = staged_digest(self._fetcher.read_back(stage.inputs, cancelled=cancelled))
        if stage.image or stage.fetches:
            self._runtime.prepare(stage.image, say=work.progress, cancelled=cancelled)
        for fetch in stage.fetches:
            self._fetch(work, fetch)
        work.done_bytes = work.total_bytes
        log.info("%s: staged in %.1f s", stage.id, time.monotonic() - began)
        return digest

    def _fetch(self, work: _Work, fetch: Fetch) -> None:
        try:
            self._hub.have(
                fetch,
                image=work.stage.image,
                say=work.progress,
                cancelled=self._stopping.is_set,
            )
        except (Refusal, TransferFault, RuntimeFault) as refused:
            if not work.stage.fetches_optional:
                raise
            log.info("%s: %s is left to the start: %s", work.stage.id, fetch.repo, refused)


def _has_failed(work: _Work) -> bool:
    future = work.future
    return future is not None and future.done() and future.exception() is not None


def _outcome(future: "Future[str]") -> tuple[str, str, str]:
    """Digest, error, detail of what has ended."""
    try:
        return future.result(), "", ""
    except (Refusal, TransferFault, RuntimeFault) as refused:
        return "", refused.reason, refused.detail
    except TransferCancelled:
        return "", "node:stopping", "The node agent ends."
    except RuntimeAway as error:
        return "", "node:engine_away", str(error)
    except OSError as error:
        return "", "node:disk_error", str(error)
    except Exception as error:
        # whatever it was, it is told; the command comes again
        log.exception("staging failed")
        return "", "node:unexpected", str(error)
