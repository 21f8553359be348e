"""The engine's events as a hint: something happened to a container, so look at it now.

An event may be lost, so nothing is concluded from one; whoever asks also looks from time to time.
"""

import logging
import threading
from collections.abc import Callable, Iterable
from typing import Any, Protocol

from nodeagent.runtimes.container import LABEL_CLUSTER, LABEL_NODE, Identity

log = logging.getLogger(__name__)

AGAIN_AFTER_S = 0.5
ACTIONS = ("die", "oom", "destroy")


class EventSource(Protocol):
    """Events of an engine, until it goes or somebody closes it from another thread."""

    def events(self, filters: dict[str, Any]) -> Iterable[dict[str, Any]]: ...

    def close(self) -> None: ...


class Watch:
    """One daemon thread. connect: a new client, made again after the engine was away."""

    def __init__(self, connect: Callable[[], EventSource], identity: Identity) -> None:
        self._connect = connect
        self._identity = identity
        self._lock = threading.Lock()
        self._cut_offs = 0
        self._looked: dict[str, int] = {}  # container -> cut-offs when it was last looked at
        self._first: dict[str, int] = {}  # container -> cut-offs when it was first looked at
        self._marked: set[str] = set()
        self._source: EventSource | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="engine-events", daemon=True)
        self.is_watching = False

    def start(self) -> None:
        self._thread.start()

    def happened(self, container: str) -> bool:
        """Whether to look at it now; each reason is told once."""
        with self._lock:
            cut_off = self._looked.get(container) != self._cut_offs
            self._looked[container] = self._cut_offs
            self._first.setdefault(container, self._cut_offs)
            if container in self._marked:
                self._marked.discard(container)
                return True
            return cut_off

    def was_cut_off(self, container: str) -> bool:
        """Whether the engine was away since the container was first asked for."""
        with self._lock:
            return self._first.get(container, self._cut_offs) != self._cut_offs

    def forget(self, container: str) -> None:
        with self._lock:
            self._looked.pop(container, None)
            self._first.pop(container, None)
            self._marked.discard(container)

    def stop(self) -> None:
        """End the thread."""
        self._stopping.set()
        with self._lock:
            source = self._source
        if source is not None:
            source.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except Exception as error:
                # whatever ends it (the engine went, a broken line): looking goes on, and so does this
                if self.is_watching and not self._stopping.is_set():
                    log.warning("the engine's events broke off: %s", error)
            with self._lock:
                self._cut_offs += self.is_watching
                self.is_watching = False
            self._stopping.wait(AGAIN_AFTER_S)

    def _follow(self) -> None:
        source = self._connect()
        with self._lock:
            self._source = source
        labels = [
            f"{LABEL_CLUSTER}={self._identity.cluster}",
            f"{LABEL_NODE}={self._identity.node}",
        ]
        filters = {"type": "container", "event": list(ACTIONS), "label": labels}
        try:
            stream = source.events(filters)
            self.is_watching = not self._stopping.is_set()
            for event in stream if self.is_watching else ():
                container = str(event.get("Actor", {}).get("ID", ""))
                with self._lock:
                    self._marked.add(container)
        finally:
            source.close()
