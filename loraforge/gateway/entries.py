"""A report as it lay in its stream, and what is told once it is stored."""

import time
from dataclasses import dataclass, field
from typing import Any

from loraforge.nodes.models import Node
from nodeagent.contract.reports import Report


@dataclass(frozen=True)
class Entry:
    """A report as it lay in the stream. entry_id is Redis's, ``<milliseconds>-<n>``, by its clock.

    clock_ahead_s: by how much that clock is ahead of ours; machines disagree, and none is silent for that.
    """

    entry_id: str
    node: Node
    report: Report
    raw: bytes = b""
    clock_ahead_s: float = 0.0

    @property
    def age_s(self) -> float:
        """How long it lay there."""
        lain_since = int(self.entry_id.partition("-")[0]) / 1000 - self.clock_ahead_s
        return time.time() - lain_since


@dataclass
class Outcome:
    """What to tell after the commit: acks are node name -> field -> value."""

    acks: dict[str, dict[str, str]] = field(default_factory=dict)
    frames: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def ack(self, node: Node, name: str, value: object) -> None:
        """Set a field of the node's acknowledgement hash."""
        self.acks.setdefault(node.name, {})[name] = str(value)
