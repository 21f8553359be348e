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
    """The part of a Docker client that is used."""

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

    def _run(self) -> None:
        wait = threading.Event()
        while True:
            try:
                self._follow()
            except Exception as error:
                # whatever ends it (the engine went, a broken line): looking goes on, and so does this
                log.warning("the engine's events broke off: %s", error)
            with self._lock:
                if self.is_watching:
                    self._cut_offs += 1
                self.is_watching = False
            wait.wait(AGAIN_AFTER_S)

    def _follow(self) -> None:
        client = self._connect()
        labels = [
            f"{LABEL_CLUSTER}={self._identity.cluster}",
            f"{LABEL_NODE}={self._identity.node}",
        ]
        filters = {"type": "container", "event": list(ACTIONS), "label": labels}
        try:
            stream = client.events(filters)
            self.is_watching = True
            for event in stream:
                container = str(event.get("Actor", {}).get("ID", ""))
                with self._lock:
                    self._marked.add(container)
        finally:
            client.close()
