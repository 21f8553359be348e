"""Whether the devices that a draft asks for can exist at all. Whether they are free, scheduling says."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from django.utils.translation import gettext as _

from loraforge.nodes.models import Device, DeviceKind, Node, NodeState
from loraforge.training.drafts import JobDraft
from loraforge.training.findings import Findings

GPUS_MAX = 1024


@dataclass
class Room:
    """The nodes that could host the draft, with their devices; node is the wanted one."""

    node: Node | None = None
    devices: dict[str, list[Device]] = field(default_factory=dict)

    @property
    def is_cpu(self) -> bool | None:
        """True when only CPU slots, False when only GPUs could host it; None when both or nothing."""
        kinds = {device.kind for found in self.devices.values() for device in found}
        return kinds == {DeviceKind.CPU} if len(kinds) == 1 else None


def _devices_by_node() -> dict[str, list[Device]]:
    found: dict[str, list[Device]] = {}
    for device in Device.objects.filter(present=True).select_related("node"):
        found.setdefault(device.node.name, []).append(device)
    return found


def room_check(*, draft: JobDraft, findings: Findings) -> Room:
    """The nodes that could host it. Refuses what no node can ever give. Two queries at most."""
    room = Room(devices=_devices_by_node())
    if not 1 <= draft.devices_wanted <= GPUS_MAX:
        text = _("Ask for 1 to %(limit)s devices.")
        findings.refuse("gpus", text % {"limit": GPUS_MAX})
    if draft.processes < 1:
        findings.refuse("processes", _("At least 1; 1 means that DDP is off."))
    elif draft.processes > draft.devices_wanted > 0:
        text = _("More processes than devices. Use at most %(count)s, or ask for more devices.")
        findings.refuse("processes", text % {"count": draft.devices_wanted})
    if draft.node:
        _wanted_node_check(draft, room, findings)
    if draft.gpu_uuids:
        _named_devices_check(draft, room, findings)
    elif room.devices:
        _count_check(draft, room, findings)
    elif room.node is None:
        findings.warn("node", _("No node has joined yet; the job waits for one."))
    return room


def _wanted_node_check(draft: JobDraft, room: Room, findings: Findings) -> None:
    known = room.devices
    room.node = Node.objects.filter(name=draft.node).first()
    room.devices = {draft.node: known[draft.node]} if draft.node in known else {}
    if room.node is None:
        room.devices = known
        text = _(
            "There is no node %(name)s. Choose one of: %(names)s; or leave it to the platform."
        )
        names = ", ".join(sorted(known)) or "-"
        findings.refuse("node", text % {"name": draft.node[:40], "names": names})
    elif not room.devices:
        text = _("%(name)s has not joined yet, so it has no devices. Choose another node.")
        findings.refuse("node", text % {"name": draft.node})
    elif room.node.cordoned or room.node.state != NodeState.ONLINE:
        text = _("%(name)s takes no new jobs now; the job waits until it does.")
        findings.warn("node", text % {"name": draft.node})


def _named_devices_check(draft: JobDraft, room: Room, findings: Findings) -> None:
    places: dict[str, str] = {
        device.uuid: name for name, devices in _devices_by_node().items() for device in devices
    }
    if len(set(draft.gpu_uuids)) != len(draft.gpu_uuids):
        findings.refuse("gpu_uuids", _("A device is named twice. Remove one of the two."))
    unknown = [uuid for uuid in draft.gpu_uuids if uuid not in places]
    for uuid in unknown:
        text = _("There is no device %(uuid)s. Choose one that a node has.")
        findings.refuse("gpu_uuids", text % {"uuid": uuid[:80]})
    if unknown:
        return
    nodes = {places[uuid] for uuid in draft.gpu_uuids}
    if len(nodes) > 1:
        text = _("These devices belong to several nodes (%(names)s). Choose devices of one node.")
        findings.refuse("gpu_uuids", text % {"names": ", ".join(sorted(nodes))})
    elif room.node is not None and nodes != {room.node.name}:
        text = _("This device belongs to %(other)s, not to %(name)s. Choose one of %(name)s.")
        names = {"other": ", ".join(nodes), "name": room.node.name}
        findings.refuse("gpu_uuids", text % names)
    else:
        _narrow(draft.gpu_uuids, nodes.pop(), room)


def _narrow(uuids: Sequence[str], name: str, room: Room) -> None:
    """Only the named devices could host it; they imply the node."""
    found = [device for device in room.devices.get(name, []) if device.uuid in uuids]
    room.devices = {name: found}
    room.node = found[0].node if found else room.node


def _count_check(draft: JobDraft, room: Room, findings: Findings) -> None:
    most = max(len(devices) for devices in room.devices.values())
    if draft.gpus <= most:
        fitting = {name: found for name, found in room.devices.items() if len(found) >= draft.gpus}
        room.devices = fitting
        return
    if room.node is not None:
        text = _("%(name)s has %(most)s devices. Ask for fewer, or choose another node.")
    else:
        text = _("No node has more than %(most)s devices. Ask for at most %(most)s.")
    findings.refuse("gpus", text % {"name": draft.node, "most": most})
