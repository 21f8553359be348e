"""Writes of nodes: adding, joining, hearing, cordoning."""

import logging
import re
import secrets
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit, events, live, outbox
from loraforge.core.errors import Conflict, Denied, Invalid
from loraforge.core.texts import storable
from loraforge.nodes import health
from loraforge.nodes.gpus import PLACE_TASK, devices_tell, marks_plain
from loraforge.nodes.joining import BYTES_MAX, description_check, is_file_url
from loraforge.nodes.models import Device, DeviceKind, DiskLevel, Node, NodeState
from loraforge.nodes.selectors import TOKEN_PREFIX
from nodeagent.contract.joining import JoinRequest
from nodeagent.contract.reports import Heartbeat

log = logging.getLogger(__name__)

NAME_RULE = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
CLOCK_SKEW_LIMIT_S = 2.0
SAME_NODE_HEARD_S = 20.0
UNKNOWN_KEPT = 50
MODELS_KEPT = 200
REDIS_USERS_TASK = "nodelink.redis_users_review"


@transaction.atomic
def node_add(*, actor: User | None, name: str) -> tuple[Node, str]:
    """A new node and its token, which is shown this once and kept as a digest only.

    actor None = the platform itself (command line). Raises Invalid for a bad name, Conflict for one
    that is taken.
    """
    if actor is not None:
        access.require(actor, Action.OPERATE)
    if not NAME_RULE.fullmatch(name):
        raise Invalid(
            "nodes:bad_name",
            _(
                "A node's name has 1 to 40 small letters, digits and hyphens, and begins and ends without a hyphen."
            ),
            fields={"name": [_("Small letters, digits and hyphens only.")]},
        )
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    try:
        with transaction.atomic():
            node = Node.objects.create(name=name, token_digest=Node.digest_of(text))
    except IntegrityError as error:
        raise Conflict(
            "nodes:name_taken",
            _("There is a node %(name)s already. Choose another name, or give it a new token.")
            % {"name": name},
        ) from error
    audit.record(actor=actor, target=node, what="nodes:add")
    _redis_users_tell()
    return node, text


@transaction.atomic
def node_token_renew(*, actor: User | None, node: Node) -> str:
    """A new token; the old one is worth nothing from now on."""
    if actor is not None:
        access.require(actor, Action.OPERATE)
    text = TOKEN_PREFIX + secrets.token_urlsafe(32)
    Node.objects.filter(pk=node.pk).update(token_digest=Node.digest_of(text))
    audit.record(actor=actor, target=node, what="nodes:token_renew")
    _redis_users_tell()
    return text


@transaction.atomic
def node_join(*, node: Node, request: JoinRequest) -> Node:
    """Take over what the node says it is; it may work from now on.

    Raises Denied for another node's name, Conflict when its clock is off or another agent serves
    under this name.
    """
    if request.node != node.name:
        raise Denied(
            "nodes:other_node",
            _("This token belongs to node %(name)s. Start the node agent with that name.")
            % {"name": node.name},
        )
    skew_s = request.clock - time.time()
    if abs(skew_s) > CLOCK_SKEW_LIMIT_S:
        raise Conflict(
            "nodes:clock_skew",
            _(
                "The node's clock is off by %(seconds)s s. Set up NTP on the node (chrony, for instance), "
                "then start its agent again."
            )
            % {"seconds": f"{skew_s:+.1f}"},
        )
    description_check(request)
    node.refresh_from_db()
    _other_agent_refuse(node=node, request=request)
    before = NodeState(node.state)
    now = timezone.now()
    state = before if before is NodeState.MAINTENANCE else NodeState.ONLINE
    Node.objects.filter(pk=node.pk).update(
        state=state,
        boot_id=_told("boot_id", request.boot_id),
        agent_id=_told("agent_id", request.agent_id),
        agent_version=_told("agent_version", request.agent_version),
        runtime=_told("runtime", request.runtime),
        hostname=_told("hostname", request.hostname),
        file_url=request.file_url,
        swift_version=_told("swift_version", request.swift_version),
        driver_version=_told("driver_version", request.driver_version),
        gpu_mode=_told("gpu_mode", request.gpu_mode),
        cpu_count=request.cpu_count,
        memory_bytes=request.memory_bytes,
        disk_total_bytes=request.disk_total_bytes,
        disk_free_bytes=request.disk_free_bytes,
        model_roots=request.model_roots,
        joined_at=now,
        seen_at=now,
    )
    node.refresh_from_db()
    _devices_store(node=node, request=request)
    _disk_judge(node)
    if state != before:
        state_tell(node=node, before=before)
    outbox.task_enqueue(PLACE_TASK)
    _redis_users_tell()
    return node


def _redis_users_tell() -> None:
    """The node's account in Redis is to be made, or has another password now."""
    if settings.REDIS_NODE_ACL:
        outbox.task_enqueue(REDIS_USERS_TASK)


def _told(column: str, value: str) -> str:
    """What a node says of itself, as long as its column is: it is for people to read."""
    length: int | None = getattr(Node._meta.get_field(column), "max_length", None)
    return storable(value, length=length)


def _other_agent_refuse(*, node: Node, request: JoinRequest) -> None:
    """Two agents under one name would both take its commands. A restart is none: it has the same folder.

    An agent of an earlier release names no folder; then its host and address tell.
    """
    if node.seen_at is None or (timezone.now() - node.seen_at).total_seconds() >= SAME_NODE_HEARD_S:
        return
    here = (node.hostname, urlsplit(node.file_url).hostname)
    is_other = here != (request.hostname, urlsplit(request.file_url).hostname)
    if node.agent_id and request.agent_id:
        is_other = node.agent_id != request.agent_id
    if is_other:
        raise Conflict(
            "nodes:already_served",
            _(
                "Another node agent on %(host)s serves node %(name)s. Stop it, wait %(seconds)d s, then start this one."
            )
            % {"host": node.hostname, "name": node.name, "seconds": SAME_NODE_HEARD_S},
        )


def _devices_store(*, node: Node, request: JoinRequest) -> None:
    """GPUs, or CPU slots where there are none. What vanished stays known, since attempts name it."""
    found = [
        Device(
            node=node,
            uuid=gpu.uuid,
            kind=DeviceKind.GPU,
            index=gpu.index,
            name=storable(gpu.name, length=100),
            memory_bytes=gpu.memory_bytes,
            marks=marks_plain(gpu.marks),
            blocked=any(mark.blocks for mark in gpu.marks),
        )
        for gpu in request.gpus
    ] or [
        Device(
            node=node,
            uuid=f"cpu-{slot}",
            kind=DeviceKind.CPU,
            index=slot,
            name=_("CPU slot %(n)d") % {"n": slot},
        )
        for slot in range(request.cpu_slots)
    ]
    for device in found:
        device.present = True
    Device.objects.bulk_create(
        found,
        update_conflicts=True,
        unique_fields=["node", "uuid"],
        update_fields=["kind", "index", "name", "memory_bytes", "present", "marks", "blocked"],
    )
    Device.objects.filter(node=node).exclude(uuid__in=[device.uuid for device in found]).update(
        present=False
    )


@transaction.atomic(savepoint=False)
def node_seen(*, node: Node, heartbeat: Heartbeat) -> Node:
    """A heartbeat came: the node is there, whatever was thought of it. node: as it was a moment ago."""
    changes = _heard(heartbeat)
    if changes["unknown"] != node.unknown:
        log.warning(
            "%s runs without its agent knowing them: %s", node, changes["unknown"] or "none"
        )
    before = NodeState(node.state)
    if not _seen_store(node, changes):
        node.refresh_from_db()
        before = NodeState(node.state)
        if not _seen_store(node, changes):
            return node
    _disk_judge(node)
    if heartbeat.gpus:
        devices_tell(node=node, states=heartbeat.gpus)
    if node.state != before:
        node.refresh_from_db()
        state_tell(node=node, before=before)
        outbox.task_enqueue(PLACE_TASK)
    return node


def _heard(heartbeat: Heartbeat) -> dict[str, Any]:
    """Columns as it says them."""
    found = {
        "seen_at": timezone.now(),
        "boot_id": _told("boot_id", heartbeat.boot_id),
        "agent_version": _told("agent_version", heartbeat.agent_version),
        "unknown": [storable(name, length=80) for name in heartbeat.unknown[:UNKNOWN_KEPT]],
        "dropped_lines": min(max(heartbeat.dropped_lines, 0), BYTES_MAX),
    }
    if is_file_url(heartbeat.file_url):
        found["file_url"] = heartbeat.file_url
    if heartbeat.disk_total_bytes:  # an older agent does not say
        found["disk_total_bytes"] = min(max(heartbeat.disk_total_bytes, 0), BYTES_MAX)
        found["disk_free_bytes"] = min(max(heartbeat.disk_free_bytes, 0), BYTES_MAX)
    if heartbeat.models is not None:
        told = heartbeat.models[:MODELS_KEPT]
        found["cached_models"] = [storable(name, length=400) for name in told]
    return found


def _seen_store(node: Node, changes: Mapping[str, Any]) -> bool:
    """Take it over, unless its state is another one by now: then nothing is changed, and False."""
    before = NodeState(node.state)
    state = NodeState.ONLINE if before in health.WATCHED else before
    if not Node.objects.filter(pk=node.pk, state=before).update(state=state, **changes):
        return False
    for name, value in {**changes, "state": state}.items():
        setattr(node, name, value)
    return True


def _disk_judge(node: Node) -> None:
    """Note when its disk fills up, or has room again."""
    before = DiskLevel(node.disk_level)
    level = health.disk_level(
        free_bytes=node.disk_free_bytes, total_bytes=node.disk_total_bytes, before=before
    )
    if level is before:
        return
    if not Node.objects.filter(pk=node.pk, disk_level=before).update(disk_level=level):
        return  # another one has told it
    node.disk_level = level
    events.emit(events.NODE_DISK_CHANGED, node=node, before=before)
    if before is DiskLevel.LOW:
        outbox.task_enqueue(PLACE_TASK)


def state_tell(*, node: Node, before: NodeState) -> None:
    """Tell pages and subscribers that a node has another state now."""
    outbox.frame_enqueue(
        live.TOPIC_NODES,
        {"type": "node", "node": node.name, "state": node.state, "cordoned": node.cordoned},
    )
    events.emit(events.NODE_STATE_CHANGED, node=node, before=before)


def node_cordon(*, actor: User, node: Node) -> Node:
    """Take nothing new from now on; what runs goes on. Undone only by a person."""
    return _cordon_set(actor=actor, node=node, cordoned=True)


def node_uncordon(*, actor: User, node: Node) -> Node:
    """Take new work again."""
    return _cordon_set(actor=actor, node=node, cordoned=False)


@transaction.atomic
def node_maintain(*, node: Node) -> Node:
    """A cordoned node on which nothing is left: it is in maintenance until a person brings it back."""
    before = NodeState(Node.objects.select_for_update().get(pk=node.pk).state)
    rows = Node.objects.filter(pk=node.pk, cordoned=True).exclude(state=NodeState.MAINTENANCE)
    changed = rows.update(state=NodeState.MAINTENANCE)
    node.refresh_from_db()
    if changed:
        audit.record(
            actor=None,
            target=node,
            what="nodes:maintain",
            changes={"state": [str(before), str(NodeState.MAINTENANCE)]},
        )
        state_tell(node=node, before=before)
    return node


def _brought_back(node: Node) -> None:
    """Out of maintenance, into whatever state its silence means."""
    if node.state == NodeState.MAINTENANCE:
        # the review judges its silence; a heartbeat sets it right at once
        Node.objects.filter(pk=node.pk).update(state=NodeState.SUSPECT)
        node.refresh_from_db()
        state_tell(node=node, before=NodeState.MAINTENANCE)
    events.emit(events.NODE_BROUGHT_BACK, node=node)


@transaction.atomic
def _cordon_set(*, actor: User, node: Node, cordoned: bool) -> Node:
    access.require(actor, Action.OPERATE)
    changed = Node.objects.filter(pk=node.pk, cordoned=not cordoned).update(cordoned=cordoned)
    node.refresh_from_db()
    if not cordoned:
        _brought_back(node)
    if changed:
        audit.record(
            actor=actor,
            target=node,
            what="nodes:cordon" if cordoned else "nodes:uncordon",
            changes={"cordoned": [not cordoned, cordoned]},
        )
        outbox.frame_enqueue(
            live.TOPIC_NODES,
            {"type": "node", "node": node.name, "state": node.state, "cordoned": node.cordoned},
        )
        outbox.task_enqueue(PLACE_TASK)
    return node
