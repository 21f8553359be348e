"""Old acknowledgements are taken away, so that what each agent reads every second stays small."""

import re
from datetime import timedelta
from typing import TYPE_CHECKING, cast

from django.utils import timezone

from loraforge.instances.models import Attempt
from loraforge.nodes.models import Node
from nodeagent.contract.channels import ack_key

if TYPE_CHECKING:
    from collections.abc import Iterable

    import redis

# An agent that was away for longer sends what it has no word of once more; that is stored only once.
KEPT = timedelta(hours=1)

AttemptKey = tuple[int, int]
_OF_ATTEMPT = re.compile(rb"(?:reread:)?(\d{1,18}):(\d{1,9}):[^:]*")


def acks_trim(client: "redis.Redis") -> int:
    """Remove the fields of attempts that ended long ago or are unknown; returns how many fields."""
    removed = 0
    for node in Node.objects.all():
        by_attempt: dict[AttemptKey, list[bytes]] = {}
        for name in cast("Iterable[bytes]", client.hkeys(ack_key(node.name))):
            key = _attempt_of(name)
            if key is not None:
                by_attempt.setdefault(key, []).append(name)
        old = [name for key in by_attempt.keys() - _needed(node) for name in by_attempt[key]]
        if old:
            removed += client.hdel(ack_key(node.name), *old)
    return removed


def _attempt_of(field: bytes) -> AttemptKey | None:
    """The attempt of `ack_field` and `reread_field`; None for the journal's fields, and what a node made up."""
    found = _OF_ATTEMPT.fullmatch(field)
    return (int(found[1]), int(found[2])) if found else None


def _needed(node: Node) -> set[AttemptKey]:
    rows = Attempt.objects.filter(node=node).exclude(ended_at__lt=timezone.now() - KEPT)
    return set(rows.values_list("instance_id", "number"))
