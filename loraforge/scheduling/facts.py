"""What the policy is told, and what it answers. Plain data; nothing of it knows the database."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from loraforge.instances.priorities import PriorityClass, priority_class


class Reason(StrEnum):
    """Why an instance waits."""

    USER_CAP = "scheduling:user_cap"
    GROUP_CAP = "scheduling:group_cap"
    GLOBAL_CAP = "scheduling:global_cap"
    KIND_CAP = "scheduling:kind_cap"
    BUDGET = "scheduling:budget"
    NO_FREE_DEVICE = "scheduling:no_free_device"
    RESERVED = "scheduling:reserved"
    BOOKED = "scheduling:booked"
    NODE_CORDONED = "scheduling:node_cordoned"
    NODE_OFFLINE = "scheduling:node_offline"
    NODE_DISK_LOW = "scheduling:node_disk_low"
    GPU_BLOCKED = "scheduling:gpu_blocked"
    NO_NODE = "scheduling:no_node"
    NEVER_FITS = "scheduling:never_fits"


@dataclass(frozen=True)
class Want:
    """An instance that waits. devices: named ones, which replace the number; node: id or None = any.

    avoids: node id -> True: only if no other could take it, False: only if no other is free.
    rank: lower goes first among the owner's own. groups: names of the owner's groups. kinds: what caps may
    count it by. longest_s: it runs no longer than that, None = nobody knows. budget_blocked: values of the
    reason's text when a budget that is used up keeps it from starting. model: of a hub, as `Place.models` has it.
    """

    id: int
    owner: int
    queued_at: datetime
    gpus: int = 1
    priority: int = 0
    node: int | None = None
    devices: tuple[str, ...] = ()
    avoids: Mapping[int, bool] = field(default_factory=dict)
    rank: int = 0
    groups: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    longest_s: int | None = None
    budget_blocked: Mapping[str, Any] | None = None
    model: str = ""

    @property
    def count(self) -> int:
        """Devices needed."""
        return len(self.devices) or self.gpus

    @property
    def group(self) -> tuple[int, PriorityClass]:
        """Whose turn it is decided by."""
        return (self.owner, priority_class(self.priority))


@dataclass(frozen=True)
class Running:
    """An instance that holds devices. ends_at: by its progress; is_latest: by its longest run instead."""

    id: int
    owner: int
    node: int | None = None
    devices: tuple[str, ...] = ()
    ends_at: datetime | None = None
    is_latest: bool = False
    groups: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()


@dataclass(frozen=True)
class Slot:
    """A device that is there now. blocked: why jobs may not have it although nobody holds it, a kind of mark."""

    uuid: str
    is_gpu: bool
    free: bool
    number: int = 0
    blocked: str = ""


@dataclass(frozen=True)
class Booking:
    """Devices of a node that are reserved for some owners from ``starts`` until ``ends``."""

    id: int
    devices: frozenset[str]
    owners: frozenset[int]
    starts: datetime
    ends: datetime


@dataclass(frozen=True)
class Place:
    """A node. takes: it is heard and not in maintenance; cordoned ones, and those whose disk is nearly full,
    take nothing new. bookings: those that have not ended. models: what lies in its cache, with and without
    the revision.
    """

    id: int
    name: str
    takes: bool
    cordoned: bool
    slots: tuple[Slot, ...]
    disk_low: bool = False
    bookings: tuple[Booking, ...] = ()
    models: frozenset[str] = frozenset()

    @property
    def open(self) -> bool:
        """It takes new jobs."""
        return self.takes and not self.cordoned and not self.disk_low

    @property
    def has_gpu(self) -> bool:
        """True when its devices are GPUs."""
        return any(slot.is_gpu for slot in self.slots)


class Scope(StrEnum):
    """Whom a cap counts together."""

    ALL = "all"
    EACH_USER = "each_user"
    USER = "user"
    EACH_GROUP = "each_group"
    GROUP = "group"


@dataclass(frozen=True)
class CapRule:
    """At most ``limit`` active at once. subject: user id or group name; kind "" = of all kinds."""

    scope: Scope
    limit: int
    subject: int | str | None = None
    kind: str = ""


@dataclass(frozen=True)
class Caps:
    """How many may be active at once by settings (in all, per owner, per group, of a kind), and the rules that
    are nearer: one for a user goes before the one for each user, and a rule before its setting.
    """

    total: int
    per_owner: int
    per_group: int | None = None
    per_kind: Mapping[str, int] = field(default_factory=dict)
    rules: tuple[CapRule, ...] = ()


@dataclass(frozen=True)
class Aging:
    """Whoever has waited for ``after`` without a start goes first.

    last_started: (owner, class) -> when a job of theirs was last started, where it matters.
    """

    after: timedelta = timedelta(days=1)
    last_started: Mapping[tuple[int, PriorityClass], datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """All that a decision depends on.

    lead: how long before a booking its devices take no job whose length nobody knows.
    """

    now: datetime
    wants: tuple[Want, ...]
    places: tuple[Place, ...]
    running: tuple[Running, ...]
    caps: Caps
    aging: Aging = field(default_factory=Aging)
    lead: timedelta = timedelta(days=1)


@dataclass(frozen=True)
class Placed:
    """Goes now."""

    id: int
    node: int
    devices: tuple[str, ...]


@dataclass(frozen=True)
class Waits:
    """Goes later; ``detail`` holds the values of the reason's text."""

    id: int
    reason: Reason
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Decision:
    """placed in the order in which they go; waits in the order of the queue.

    aged: those who went or wait in front for having waited so long.
    """

    placed: tuple[Placed, ...]
    waits: tuple[Waits, ...]
    aged: frozenset[int] = frozenset()
