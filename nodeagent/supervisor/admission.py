"""Whether a start may go ahead, and where what it wants lies on this node."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

from nodeagent.contract.commands import Mount, Start
from nodeagent.journal import Record


class Refusal(Exception):
    """The command is refused. ``reason`` is an ``area:what`` id, the text one line for people."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def mounts_resolve(mounts: Iterable[Mount], roots: Iterable[Path]) -> dict[str, Path]:
    """Contract path -> real folder for every mount. Raises Refusal unless it lies in a model root.

    Links are followed first, so a link inside a root that leads out of it is refused as well.
    """
    real_roots = [root.resolve() for root in roots]
    found = {}
    for mount in mounts:
        path = Path(mount.path)
        real = path.resolve()
        if not path.is_absolute() or not any(real.is_relative_to(root) for root in real_roots):
            raise Refusal(
                "model:outside_roots", f"{mount.path} lies outside this node's model folders."
            )
        if not real.exists():
            raise Refusal("model:not_found", f"There is no {mount.path} on this node.")
        found[mount.target] = real
    return found


def devices_check(
    start: Start,
    *,
    offered: set[str],
    others: Iterable[Record],
    dirty: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Raises Refusal unless all devices exist, are clean, and no other live attempt holds one of them."""
    if not start.devices:
        raise Refusal("device:none", "The start names no device.")
    unknown = sorted(set(start.devices) - offered)
    if unknown:
        raise Refusal("device:unknown", f"This node has no {', '.join(unknown)}.")
    for device in start.devices:
        if device in dirty:
            raise Refusal("device:dirty", f"{device} is not free yet: {dirty[device]}")
    for other in others:
        if not other.is_live or other.spec is None:
            continue
        shared = sorted(set(start.devices) & set(other.spec.devices))
        if shared:
            raise Refusal(
                "device:busy",
                f"{', '.join(shared)} is used by attempt {other.attempt} "
                f"of instance {other.instance}.",
            )


def order_check(start: Start, siblings: Iterable[Record]) -> None:
    """Raises Refusal when a later attempt of the instance is known, or an earlier one still lives."""
    for other in siblings:
        if other.attempt > start.attempt:
            raise Refusal(
                "command:old_attempt", f"Attempt {other.attempt} of this instance came already."
            )
        if other.is_live:
            raise Refusal("instance:live", f"Attempt {other.attempt} of this instance still runs.")
