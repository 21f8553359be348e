"""Commands out: what SQL wants, as the contract says it, into a node's queue.

Each function looks at SQL again before it sends: the message that called it was only a hint. Command
ids follow from what they mean, so that one that is sent again is known at the node.
"""

import hashlib
import logging
import time
import uuid
from typing import Literal

import msgspec
from django.conf import settings

from loraforge.accounts.models import SecretKind
from loraforge.artifacts.models import OutputFile
from loraforge.artifacts.selectors import input_files
from loraforge.artifacts.services import input_url as file_url
from loraforge.datasets.selectors import hashes_deleted
from loraforge.datasets.services import input_url
from loraforge.gateway.secrets import secret_url
from loraforge.instances.models import Attempt
from loraforge.instances.states import State
from loraforge.migration.models import Migration, Prefetch
from loraforge.migration.needs import needs_of
from loraforge.migration.states import Ending
from loraforge.nodelink.commands import command_send
from loraforge.nodelink.files import file_peer
from loraforge.nodes.models import Device, DeviceKind, Node
from loraforge.training.hub import HubFetch
from loraforge.training.launch import Launch, Resume, ResumeFile, launch_freeze, resume_of
from loraforge.training.models import Job
from loraforge.training.resuming import resume_find
from loraforge.training.services import datasets_require
from loraforge.training.weights import weights_require
from nodeagent.contract import paths
from nodeagent.contract.commands import (
    Checkpoint,
    Command,
    Discard,
    Fetch,
    Input,
    Mount,
    Peer,
    Remove,
    SecretInput,
    Source,
    Stage,
    Start,
    Stop,
)

log = logging.getLogger(__name__)

STARTABLE = frozenset({State.ASSIGNED, State.PREPARING})


def _attempt(instance_id: int, number: int) -> Attempt | None:
    rows = Attempt.objects.select_related("instance", "node")
    return rows.filter(instance_id=instance_id, number=number).first()


def start_send(*, instance_id: int, attempt: int) -> bool:
    """Have the node start this attempt; False when that is not wanted any more."""
    row = _attempt(instance_id, attempt)
    if row is None or row.instance.attempt != attempt or row.instance.deleted_at is not None:
        return False
    if row.instance.state not in STARTABLE or row.stop_requested:
        return False
    command = start_build(row)
    if row.spec_hash != command.spec_hash:
        Attempt.objects.filter(pk=row.pk).update(spec_hash=command.spec_hash)
    command_send(node=row.node, command=command)
    return True


def stop_send(*, instance_id: int, attempt: int, mode: Literal["save", "now"] = "save") -> bool:
    """Have the node end this attempt, whatever the instance is by now."""
    row = _attempt(instance_id, attempt)
    if row is None:
        return False
    _send(
        row,
        Stop(
            id=f"stop-{instance_id}-{attempt}-{mode}",
            instance=instance_id,
            attempt=attempt,
            mode=mode,
            grace_s=stop_grace_s(row),
            save_max_s=settings.STOP_SAVE_MAX_S,
            issued_at=time.time(),
        ),
    )
    return True


def stop_grace_s(attempt: Attempt) -> float:
    """How long a stop may take to begin its save: two of its steps, and never less than the setting.

    The trainer saves at the end of a step, and a step of a large model may take a minute.
    """
    instance = attempt.instance
    left = instance.max_steps - instance.step
    if instance.attempt != attempt.number or instance.eta_s is None or left <= 0:
        return float(settings.STOP_GRACE_S)
    two_steps_s = 2 * instance.eta_s / left
    return float(min(max(settings.STOP_GRACE_S, two_steps_s), settings.STOP_SAVE_MAX_S))


def checkpoint_send(*, instance_id: int, attempt: int, request: str) -> bool:
    """Have the trainer save and go on; False when it does not run any more."""
    row = _attempt(instance_id, attempt)
    if row is None or row.instance.state != State.RUNNING or row.instance.attempt != attempt:
        return False
    _send(
        row,
        Checkpoint(
            id=f"checkpoint-{instance_id}-{attempt}-{request}",
            instance=instance_id,
            attempt=attempt,
            issued_at=time.time(),
        ),
    )
    return True


def remove_send(*, instance_id: int, attempt: int, tries: int = 0) -> bool:
    """Have the node that held this attempt delete its files and those of all before it.

    tries: how often the node refused; the next is a command of its own, else the node would know it.
    """
    row = _attempt(instance_id, attempt)
    if row is None:
        return False
    _send(
        row,
        Remove(
            id=f"remove-{instance_id}-{attempt}" + (f"-{tries}" if tries else ""),
            instance=instance_id,
            attempt=attempt,
            issued_at=time.time(),
        ),
    )
    return True


def discard_send(*, node_id: int, hashes: list[str]) -> bool:
    """Have the node let go of the inputs among these that only deleted datasets have.

    Each time a command of its own: a node that kept one for a live attempt is to do it later.
    """
    gone = hashes_deleted(hashes)
    if not gone:
        return False
    node = Node.objects.get(pk=node_id)
    command = Discard(id=f"discard-{uuid.uuid4().hex}", hashes=gone, issued_at=time.time())
    command_send(node=node, command=command)
    log.info("%s sent to %s: %d inputs", command.id, node.name, len(gone))
    return True


def _send(row: Attempt, command: Command) -> None:
    command_send(node=row.node, command=command)
    log.info("%s sent to %s", command.id, row.node.name)


def start_build(attempt: Attempt) -> Start:
    """The start command of an attempt; the same attempt gives the same spec hash whenever it is built."""
    job = Job.objects.select_related("instance__owner").get(pk=attempt.instance_id)
    if str(attempt.number) not in job.launched:  # it may have waited for days since it was checked
        _inputs_require(job, attempt)
    launch = launch_freeze(job=job, attempt=attempt.number, device_kind=_device_kind(attempt))
    start = Start(
        id=f"start-{attempt.instance_id}-{attempt.number}",
        instance=attempt.instance_id,
        attempt=attempt.number,
        argv=launch.argv,
        env=launch.env,
        devices=list(attempt.devices),
        inputs=[
            *_inputs(launch, attempt.node),
            *_checkpoint_inputs(launch.resume, attempt.instance_id, attempt.node),
            *_borrowed(launch, attempt.instance_id, attempt.node),
        ],
        mounts=_mounts(launch),
        fetches=[_fetch(one, attempt) for one in launch.fetches],
        secrets=[
            SecretInput(name=name, url=secret_url(attempt=attempt, kind=SecretKind(kind)))
            for name, kind in launch.secrets.items()
        ],
        network=launch.network,
        processes=launch.processes,
        image=launch.image,
        save_every_s=launch.save_every_s,
        fence_after_s=launch.fence_after_s,
        fence_grace_s=launch.fence_grace_s,
        disk_bytes=settings.JOB_DISK_BYTES,
        spec_hash="",
        issued_at=time.time(),
    )
    return msgspec.structs.replace(start, spec_hash=spec_hash(start))


def _inputs_require(job: Job, attempt: Attempt) -> None:
    """Raises Conflict when its owner may not train on one of its inputs any more."""
    datasets_require(job=job)
    weights_require(job=job, resume=resume_of(job, attempt=attempt.number))


def _device_kind(attempt: Attempt) -> str:
    kinds = Device.objects.filter(node=attempt.node, uuid__in=attempt.devices).values_list(
        "kind", flat=True
    )
    return DeviceKind.GPU if DeviceKind.GPU in kinds else DeviceKind.CPU


def _mounts(launch: Launch) -> list[Mount]:
    return [Mount(target=target, path=path) for target, path in launch.mounts.items()]


def _inputs(launch: Launch, node: Node) -> list[Input]:
    return [
        Input(
            target=one.target,
            url=input_url(dataset=one.dataset, node=node),
            sha256=one.sha256,
            size_bytes=one.dataset.size_bytes,
        )
        for one in launch.inputs
    ]


def _checkpoint_inputs(resume: Resume | None, instance_id: int, node: Node) -> list[Input]:
    """The files of the checkpoint that it goes on from; on the node that left them, from its own disk.

    Another node asks that node for them, and where it cannot reach it, the control plane.
    """
    if resume is None:
        return []
    files = input_files(
        instance_id=resume.job or instance_id,
        attempt=resume.attempt,
        hashes={one.path: one.sha256 for one in resume.files},
    )
    return [_checkpoint_input(resume, one, files[one.path], node) for one in resume.files]


def _borrowed(launch: Launch, instance_id: int, node: Node) -> list[Input]:
    """The files of models that other jobs have made, beside the one that it begins with."""
    return [
        one
        for checkpoint in launch.checkpoints
        for one in _checkpoint_inputs(checkpoint, instance_id, node)
    ]


def _checkpoint_input(resume: Resume, wanted: ResumeFile, file: OutputFile, node: Node) -> Input:
    left = file.attempt
    source = Source(instance=left.instance_id, attempt=resume.attempt, path=wanted.path)
    is_here = left.node_id == node.pk
    return Input(
        target=resume.target(wanted),
        url=file_url(file=file, node=node),
        sha256=wanted.sha256,
        size_bytes=wanted.size_bytes,
        source=source if is_here else None,
        peer=None if is_here else _peer(file, node),
    )


def _peer(file: OutputFile, node: Node) -> Peer | None:
    """The file at the node that left it, as long as that has not removed it."""
    left = file.attempt
    if file.removed_at is not None or not left.node.file_url:
        return None
    found = file_peer(
        node=left.node,
        instance_id=left.instance_id,
        attempt=left.number,
        path=file.path,
        user=f"node-{node.name}",
    )
    return Peer(url=found[0], token=found[1])


def prefetch_send(*, prefetch_id: int) -> bool:
    """Have a node fetch a model that everybody may have; False when that is not wanted any more."""
    row = Prefetch.objects.select_related("node").filter(pk=prefetch_id).first()
    if row is None or row.state != Prefetch.State.ACTIVE:
        return False
    wanted = {
        "target": paths.MODEL,
        "kind": "model",
        "hub": row.hub,
        "repo": row.repo,
        "revision": row.revision,
    }
    command = Stage(
        id=row.stage_id,
        fetches=[msgspec.convert(wanted, Fetch)],
        image=settings.SWIFT_IMAGE,
        issued_at=time.time(),
    )
    command_send(node=row.node, command=command)
    return True


def stage_send(*, migration_id: int) -> bool:
    """Have the target of a move fetch what its attempt will need; False when that is not wanted any more."""
    row = Migration.objects.select_related("target", "instance").filter(pk=migration_id).first()
    if row is None or row.state != Ending.ACTIVE or row.checkpoint_step is None:
        return False
    job = Job.objects.get(pk=row.instance_id)
    resume = resume_find(job=job, at=(row.checkpoint_attempt or 0, row.checkpoint_step))
    attempt = _attempt(row.instance_id, row.source_attempt)
    if resume is None or attempt is None:
        return False
    launch = needs_of(job=job, attempt=attempt, resume=resume).launch
    command = Stage(
        id=row.staged_id,
        instance=row.instance_id,
        attempt=row.source_attempt + 1,
        inputs=[
            *_inputs(launch, row.target),
            *_checkpoint_inputs(resume, row.instance_id, row.target),
            *_borrowed(launch, row.instance_id, row.target),
        ],
        mounts=_mounts(launch),
        fetches=[_public(one, row.instance_id, row.source_attempt + 1) for one in launch.fetches],
        fetches_optional=True,
        image=launch.image,
        issued_at=time.time(),
    )
    command_send(node=row.target, command=command)
    log.info("%s sent to %s", command.id, row.target.name)
    return True


def _revision_before(wanted: HubFetch, *, instance_id: int, number: int) -> str:
    """A next attempt goes on with the model that the first one had, though its hub has a newer one.

    ModelScope names no revision that could be asked for again.
    """
    if wanted.target != paths.MODEL or wanted.hub != "huggingface":
        return ""
    before = Attempt.objects.filter(instance_id=instance_id, number__lt=number)
    for steps in before.order_by("number").values_list("steps", flat=True):
        if revision := steps.get("model", {}).get("revision", ""):
            return str(revision).partition(",")[0]  # the base model comes first
    return ""


def _public(wanted: HubFetch, instance_id: int, number: int) -> Fetch:
    """As anybody may have it."""
    before = _revision_before(wanted, instance_id=instance_id, number=number)
    return msgspec.convert({**wanted.plain, "revision": wanted.revision or before}, Fetch)


def _fetch(wanted: HubFetch, attempt: Attempt) -> Fetch:
    """With the way to the owner's token, whether there is one or not: the node asks when it needs it."""
    return msgspec.structs.replace(
        _public(wanted, attempt.instance_id, attempt.number),
        token_url=secret_url(attempt=attempt, kind=SecretKind(wanted.hub)),
        user=str(attempt.instance.owner_id),
    )


def spec_hash(start: Start) -> str:
    """SHA-256 over all that decides what runs: not the id, the time, or where the inputs come from."""
    plain = msgspec.to_builtins(start)
    for key in ("id", "issued_at", "spec_hash", "v", "disk_bytes"):
        del plain[key]
    for one in plain["inputs"]:
        del one["url"], one["source"], one["peer"]
    for one in plain["fetches"]:
        del one["token_url"]
    for one in plain["secrets"]:
        del one["url"]
    # what came later counts only where it is used: a start of before keeps its hash
    for key in ("fetches", "secrets", "network", "fence_after_s", "fence_grace_s"):
        if not plain[key]:
            del plain[key]
    return hashlib.sha256(msgspec.json.encode(plain, order="deterministic")).hexdigest()
