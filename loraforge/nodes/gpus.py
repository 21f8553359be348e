"""What becomes of a node's word about its GPUs: kept with the device, told to operators, and jobs placed again."""

from collections.abc import Iterable, Mapping
from typing import Any

from loraforge.core import events, outbox
from loraforge.core.texts import storable
from loraforge.nodes.models import Device, DeviceKind, Node
from nodeagent.contract import gpus as kinds
from nodeagent.contract.gpus import GpuCheck, GpuMark, GpuState

PLACE_TASK = "scheduling.instances_place"
MARKS_KEPT = 8
KIND_LENGTH = 40
DETAIL_LENGTH = 300
# The GPU itself, or what it runs with, is to be mended by somebody.
SICK = frozenset({kinds.LOST, kinds.ECC, kinds.CHECK_FAILED})


def marks_plain(marks: Iterable[GpuMark]) -> list[dict[str, Any]]:
    """As a device keeps them, those that block first."""
    found = [
        {
            "kind": storable(mark.kind, length=KIND_LENGTH),
            "detail": storable(mark.detail, length=DETAIL_LENGTH),
            "blocks": mark.blocks,
        }
        for mark in marks
    ]
    return sorted(found, key=lambda mark: not mark["blocks"])[:MARKS_KEPT]


def check_plain(check: GpuCheck | None) -> dict[str, Any]:
    """As a device keeps it; empty when none was made."""
    if check is None:
        return {}
    return {
        "ok": check.ok,
        "detail": storable(check.detail, length=DETAIL_LENGTH),
        "torch": storable(check.torch, length=40),
        "tflops": check.tflops,
    }


def devices_tell(*, node: Node, states: Iterable[GpuState]) -> None:
    """Take over what a heartbeat says of each GPU. One query while nothing changes."""
    told = {state.uuid: state for state in states}
    for device in Device.objects.filter(node=node, kind=DeviceKind.GPU, uuid__in=told):
        state = told[device.uuid]
        _store(device, node=node, marks=marks_plain(state.marks), check=check_plain(state.check))


def devices_dirty(*, node: Node, dirty: Mapping[str, str]) -> None:
    """GPUs that an attempt gives back without their being free: kept from the next job, in this transaction."""
    if not dirty:
        return
    for device in Device.objects.filter(node=node, kind=DeviceKind.GPU, uuid__in=dirty):
        mark = marks_plain([GpuMark(kind=kinds.DIRTY, detail=dirty[device.uuid])])
        others = [one for one in device.marks if one["kind"] != kinds.DIRTY]
        _store(device, node=node, marks=[*mark, *others][:MARKS_KEPT], check=device.cuda_check)


def _store(
    device: Device, *, node: Node, marks: list[dict[str, Any]], check: dict[str, Any]
) -> None:
    if (device.marks, device.cuda_check) == (marks, check):
        return
    before = {mark["kind"] for mark in device.marks if mark["blocks"]}
    after = {mark["kind"] for mark in marks if mark["blocks"]}
    device.marks, device.cuda_check, device.blocked = marks, check, bool(after)
    Device.objects.filter(pk=device.pk).update(marks=marks, cuda_check=check, blocked=bool(after))
    for kind in sorted((after - before) & SICK):
        events.emit(events.NODE_GPU_SICK, node=node, device=device, kind=kind)
    if before and not after:
        outbox.task_enqueue(PLACE_TASK)
