"""Writes of output files: what the nodes' manifests say, and what was removed."""

import logging
from collections.abc import Iterable
from datetime import UTC, datetime

import msgspec
from django.core import signing
from django.db import transaction
from django.urls import reverse
from django.utils import timezone

from loraforge.artifacts.models import BestCheckpoint, OutputFile
from loraforge.artifacts.replicas import replica_want
from loraforge.artifacts.roles import checkpoint_of
from loraforge.artifacts.selectors import INPUT_SALT
from loraforge.artifacts.wishes import results_want
from loraforge.core import outbox
from loraforge.core.errors import NotFound, Unavailable
from loraforge.instances.models import Attempt
from loraforge.instances.states import TERMINAL, State
from loraforge.nodelink.files import file_read, is_plain_path
from loraforge.nodes.models import Node
from nodeagent.contract.reading import UNREADABLE
from nodeagent.contract.reports import File

BEST_TASK = "artifacts.best_checkpoint_read"
PATH_MAX = 1000
TIME_MAX_S = 253_402_300_799.0  # the end of the year 9999
STATE_FILE = "trainer_state.json"
STATE_MAX_BYTES = 16 * 1024**2

_log = logging.getLogger(__name__)


class _TrainerState(msgspec.Struct, kw_only=True):
    """What interests of transformers' trainer_state.json."""

    best_model_checkpoint: str | None = None
    best_metric: float | None = None


def _is_sound(file: File) -> bool:
    """A node is believed about its files, not about its paths: one that cannot be fetched would end every zip."""
    return len(file.path) <= PATH_MAX and is_plain_path(file.path) and file.size_bytes >= 0


def _moment(seconds: float) -> datetime:
    """A file's time as a calendar has it: a job may give its files any, also the year 10 000."""
    return datetime.fromtimestamp(min(max(seconds, 0.0), TIME_MAX_S), UTC)


@transaction.atomic
def manifest_store(*, attempt: Attempt, files: Iterable[File], complete: bool) -> None:
    """Take over a manifest: these are the attempt's files now, and what it does not name is gone.

    complete: made after the end; nothing changes any more. Storing one twice changes nothing.
    """
    given = list(files)
    sound = {file.path: file for file in given if _is_sound(file)}
    if len(sound) < len(given):
        _log.warning("%s: %d files with unusable paths left out", attempt, len(given) - len(sound))
    OutputFile.objects.bulk_create(
        (
            OutputFile(
                attempt=attempt,
                path=file.path,
                size_bytes=file.size_bytes,
                sha256=file.sha256,
                modified_at=_moment(file.modified_at),
                is_cut=file.is_cut,
                removed_at=None,
            )
            for file in sound.values()
        ),
        batch_size=500,
        update_conflicts=True,
        unique_fields=["attempt", "path"],
        update_fields=["size_bytes", "sha256", "modified_at", "is_cut", "removed_at"],
    )
    known = OutputFile.objects.filter(attempt=attempt, removed_at=None).values_list("pk", "path")
    gone = [pk for pk, path in known if path not in sound]
    for begin in range(0, len(gone), 500):
        OutputFile.objects.filter(pk__in=gone[begin : begin + 500]).update(
            removed_at=timezone.now()
        )
    if complete and State(attempt.instance.state) in TERMINAL:  # it was given up, and has come back
        results_want(instance=attempt.instance)
    if any(checkpoint_of(path) for path in sound):
        replica_want(instance=attempt.instance)
        outbox.task_enqueue(BEST_TASK, attempt_id=attempt.pk)
    _log.info("%s: manifest of %d files, complete: %s", attempt, len(sound), complete)


def best_checkpoint_read(*, attempt: Attempt) -> BestCheckpoint | None:
    """Ask the node what the trainer holds for the best checkpoint, and keep it; None = it does not say.

    A node that does not answer leaves what was known; the next manifest asks again.
    """
    paths = OutputFile.objects.filter(
        attempt=attempt, removed_at=None, path__endswith=f"/{STATE_FILE}"
    )
    steps = {
        path: found[1]
        for path in paths.values_list("path", flat=True)
        if (found := checkpoint_of(path))
    }
    if not steps:
        return None
    newest = max(steps, key=lambda path: steps[path])
    try:
        raw = file_read(
            node=attempt.node,
            instance_id=attempt.instance_id,
            attempt=attempt.number,
            path=newest,
            limit_bytes=STATE_MAX_BYTES,
        )
    except (NotFound, Unavailable) as error:
        _log.warning("%s: best checkpoint not known: %s", attempt, error)
        return None
    try:
        state = msgspec.json.decode(raw, type=_TrainerState)
    except UNREADABLE as error:
        _log.warning("%s: best checkpoint cannot be read: %s", attempt, error)
        return None
    best = checkpoint_of(state.best_model_checkpoint or "")
    if best is None:
        return None
    kept, _created = BestCheckpoint.objects.update_or_create(
        attempt=attempt, defaults={"step": best[1], "metric": state.best_metric}
    )
    return kept


def input_url(*, file: OutputFile, node: Node) -> str:
    """The relative address at which this node, and no other, fetches the file for some hours."""
    claims = {"node": node.name, "file": file.pk, "sha256": file.sha256}
    signed = signing.dumps(claims, salt=INPUT_SALT)
    return reverse("api:agent-input-file", kwargs={"signed": signed})
