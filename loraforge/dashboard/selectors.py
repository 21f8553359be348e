"""Reads that a composed page needs from several floors at once, each with a constant number of queries."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from django.db.models import Q, QuerySet

from loraforge.accounts.models import User
from loraforge.core.texts import number_read
from loraforge.dashboard.joblines import job_lines
from loraforge.datasets.models import Dataset
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.selectors import Holder, device_holders
from loraforge.instances.states import ACTIVE, RESTING, TERMINAL, State
from loraforge.nodes.gputexts import mark_label
from loraforge.nodes.models import Device, DiskLevel, Node, NodeState
from loraforge.nodes.selectors import node_list
from loraforge.scheduling.selectors import caps_of
from loraforge.training.selectors import job_instances

# Groups of states that the list of jobs filters by.
GROUPS: dict[str, frozenset[State]] = {
    "active": ACTIVE,
    "queued": frozenset({State.QUEUED}),
    "ended": TERMINAL,
    "draft": frozenset({State.DRAFT}),
}
TAKES_JOBS = (NodeState.ONLINE, NodeState.SUSPECT)


def job_search(*, user: User, query: str, group: str, only_own: bool) -> QuerySet[Instance]:
    """The list of jobs: ``query`` is looked for in number, name, model, owner and tags' text."""
    rows = job_instances(user=user)
    if only_own:
        rows = rows.filter(owner=user)
    if group in GROUPS:
        rows = rows.filter(state__in=[str(state) for state in GROUPS[group]])
    words = query.strip()
    if words:
        found = (
            Q(name__icontains=words)
            | Q(job__model__icontains=words)
            | Q(owner__username__iexact=words)
        )
        number = number_read(words.removeprefix("#"))
        rows = rows.filter(found if number is None else found | Q(pk=number))
    return rows


@dataclass(frozen=True)
class Slot:
    """One device of a node, and who holds it now (None = nobody)."""

    device: Device
    holder: Holder | None

    @property
    def is_free(self) -> bool:
        """A job could have it, as far as it goes by the device."""
        return self.holder is None and not self.device.blocked

    @property
    def marks(self) -> list[dict[str, Any]]:
        """What its node says of it, with a label each."""
        return [{**mark, "label": mark_label(mark["kind"])} for mark in self.device.marks]


@dataclass(frozen=True)
class NodeRow:
    """A node with its devices. usable: it takes new jobs now."""

    node: Node
    slots: list[Slot] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        is_open = not self.node.cordoned and self.node.disk_level != DiskLevel.LOW
        return self.node.state in TAKES_JOBS and is_open

    @property
    def free(self) -> int:
        """Devices that a job could get now."""
        return sum(slot.is_free for slot in self.slots) if self.usable else 0


def node_rows(*, user: User, nodes: Iterable[Node] | None = None) -> list[NodeRow]:
    """Nodes with the holders of their devices, as far as the user may know them."""
    found = list(node_list(user=user) if nodes is None else nodes)
    holders = device_holders(user=user, nodes=found)
    return [
        NodeRow(
            node=node,
            slots=[
                Slot(device=device, holder=holders.get((node.pk, device.uuid)))
                for device in node.devices.all()
            ],
        )
        for node in found
    ]


def home_data(*, user: User) -> dict[str, Any]:
    """What the home page shows: what runs, what waits, what ended, quota and free devices."""
    active = [str(state) for state in ACTIVE]
    rows = job_instances(user=user)
    queued = rows.filter(state=State.QUEUED, owner=user).order_by("-priority", "queued_at")
    recent = rows.filter(owner=user, state__in=[str(state) for state in RESTING])
    nodes = node_rows(user=user)
    cap_all, cap_own = caps_of(user=user)
    return {
        "running": job_lines(rows.filter(state__in=active)[:20]),
        "queued": job_lines(queued[:20]),
        "recent": job_lines(recent[:8]),
        "nodes": nodes,
        "own_running": Instance.objects.filter(
            owner=user, state__in=active, deleted_at=None
        ).count(),
        "all_running": Instance.objects.filter(state__in=active, deleted_at=None).count(),
        "cap_own": cap_own,
        "cap_all": cap_all,
        "free": sum(row.free for row in nodes),
        "devices": sum(len(row.slots) for row in nodes),
        "has_dataset": Dataset.objects.filter(owner=user, deleted_at=None).exists(),
    }


def attempt_of(instance: Instance) -> Attempt | None:
    """The current or last attempt with its node."""
    return (
        Attempt.objects.filter(instance=instance, number=instance.attempt)
        .select_related("node")
        .first()
    )
