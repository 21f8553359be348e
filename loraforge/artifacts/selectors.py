"""Reads of output files, filtered by what the asker may see."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from django.contrib.auth.models import AnonymousUser
from django.core import signing
from django.db.models import Count, Q, QuerySet, Sum
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.artifacts.checkpoints import ADAPTER, is_for_inference, missing_files
from loraforge.artifacts.leases import removed_error
from loraforge.artifacts.models import (
    BestCheckpoint,
    OutputFile,
    Removal,
    ResultCopy,
    ResultSaving,
)
from loraforge.artifacts.retention import Place
from loraforge.artifacts.roles import checkpoint_of
from loraforge.core.errors import Denied, Gone, NotFound
from loraforge.instances.models import Attempt, Instance
from loraforge.nodes.models import Node
from nodeagent.contract import paths

Asker = User | AnonymousUser

INPUT_SALT = "loraforge.artifacts.input"
# Longer than a dataset's: a checkpoint of a whole model may be fetched in several goes.
INPUT_MAX_AGE_S = 24 * 3600  # an image and a model may have to come before

# On its node, or kept here.
AVAILABLE = Q(removed_at=None) | Q(copy__state=ResultCopy.State.KEPT)

_LIVE_FILES = frozenset({paths.CONSOLE_FILE, paths.EVENTS_FILE, paths.METRICS_FILE})


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint folder that an attempt left.

    missing: what a resume would not find in it; empty = it is complete. weights_missing: the same for
    its weights alone. is_kept, are_weights_kept: the control plane has it, or its weights, whatever
    becomes of the node. is_latest: the newest that is complete (if none is, the newest). is_best: by
    the trainer's own metric.
    """

    attempt: int
    step: int
    path: str
    files: int
    size_bytes: int
    missing: tuple[str, ...]
    weights_missing: tuple[str, ...]
    is_kept: bool = False
    are_weights_kept: bool = False
    is_latest: bool = False
    is_best: bool = False

    @property
    def is_complete(self) -> bool:
        return not self.missing


@dataclass(frozen=True, kw_only=True)
class Located:
    """Where a file is: the attempt with its node, and its manifest row, if there is one that holds."""

    attempt: Attempt
    path: str
    listed: OutputFile | None


def output_file_list(*, user: Asker, instance: Instance) -> QuerySet[OutputFile]:
    """The files that lie on nodes, newest attempt first, then by path. Raises NotFound."""
    access.require(user, Action.VIEW, instance)
    return (
        OutputFile.objects.filter(AVAILABLE, attempt__instance=instance)
        .select_related("attempt", "copy")
        .order_by("-attempt__number", "path")
    )


def checkpoint_list(*, instance: Instance) -> list[Checkpoint]:
    """All checkpoints, newest first, of an instance that the caller already may see. Two queries."""
    rows = OutputFile.objects.filter(
        AVAILABLE, attempt__instance=instance, path__contains="checkpoint-"
    ).values_list("attempt__number", "path", "size_bytes", "is_cut", "copy__state")
    found: dict[tuple[int, int, str], _Folder] = {}
    for number, path, size_bytes, is_cut, state in rows:
        folder = checkpoint_of(path)
        if folder is not None:
            inside = path.removeprefix(f"{folder[0]}/")
            found.setdefault((number, folder[1], folder[0]), _Folder()).add(
                inside, size_bytes, is_cut=is_cut, is_kept=state == ResultCopy.State.KEPT
            )
    listed = [
        _checkpoint(key, found[key], processes=instance.processes)
        for key in sorted(found, reverse=True)
    ]
    return _marked(listed, best=_best_of(instance))


@dataclass
class _Folder:
    """What lies in a checkpoint's folder; names are those of its whole files."""

    names: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    files: int = 0
    size_bytes: int = 0

    def add(self, name: str, size_bytes: int, *, is_cut: bool, is_kept: bool) -> None:
        self.files += 1
        self.size_bytes += size_bytes
        if not is_cut:
            self.names.append(name)
        if is_kept:
            self.kept.append(name)


def _checkpoint(key: tuple[int, int, str], folder: _Folder, *, processes: int) -> Checkpoint:
    number, step, path = key
    return Checkpoint(
        attempt=number,
        step=step,
        path=path,
        files=folder.files,
        size_bytes=folder.size_bytes,
        missing=tuple(missing_files(folder.names, processes=processes)),
        weights_missing=tuple(missing_files(folder.names, processes=processes, weights_only=True)),
        is_kept=not missing_files(folder.kept, processes=processes),
        are_weights_kept=not missing_files(folder.kept, processes=processes, weights_only=True),
    )


def _best_of(instance: Instance) -> tuple[int, int] | None:
    """(attempt, step), as the newest attempt that has an opinion says. A resumed one may mean an earlier's."""
    bests = BestCheckpoint.objects.filter(attempt__instance=instance)
    return max(bests.values_list("attempt__number", "step"), default=None)


def _marked(listed: list[Checkpoint], *, best: tuple[int, int] | None) -> list[Checkpoint]:
    latest = next((one for one in listed if one.is_complete), listed[0] if listed else None)
    the_best = None
    if best is not None:
        the_best = next(
            (one for one in listed if one.attempt <= best[0] and one.step == best[1]), None
        )
    return [replace(one, is_latest=one is latest, is_best=one is the_best) for one in listed]


def checkpoint_files(*, instance: Instance, checkpoint: Checkpoint) -> list[OutputFile]:
    """The rows of a checkpoint's folder, whole files only, by path."""
    rows = OutputFile.objects.filter(
        attempt__instance=instance,
        attempt__number=checkpoint.attempt,
        path__startswith=f"{checkpoint.path}/",
        is_cut=False,
    ).filter(AVAILABLE)
    return list(rows.select_related("attempt__node", "copy").order_by("path"))


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The files of a checkpoint that a model is loaded by. is_adapter: LoRA weights, not a whole model."""

    checkpoint: Checkpoint
    files: list[OutputFile]
    is_adapter: bool


def weights_files(
    *, user: Asker, instance: Instance, attempt: int | None = None, folder: str = ""
) -> Weights:
    """Of the checkpoint in this folder, or of the newest whose weights are whole. Raises NotFound, Denied."""
    access.require(user, Action.DOWNLOAD, instance)
    wanted = folder.rstrip("/")
    found = next(
        (
            one
            for one in checkpoint_list(instance=instance)
            if not one.weights_missing
            and wanted in {"", one.path}
            and attempt in {None, one.attempt}
        ),
        None,
    )
    if found is None:
        text = _("There is no checkpoint with whole weights here. Choose another, or all files.")
        raise NotFound("artifacts:no_weights", text)
    rows = checkpoint_files(instance=instance, checkpoint=found)
    files = [row for row in rows if is_for_inference(row.path.removeprefix(f"{found.path}/"))]
    names = {file.path.rpartition("/")[2] for file in files}
    return Weights(checkpoint=found, files=files, is_adapter=ADAPTER[0] in names)


def _missing(path: str) -> NotFound:
    return NotFound("artifacts:not_found", _("There is no file %(path)s.") % {"path": path})


def _unfinished(path: str) -> NotFound:
    text = _("%(path)s is of a checkpoint that is not saved whole yet, or there is no such file.")
    return NotFound("artifacts:not_found", text % {"path": path})


def output_file_locate(
    *, user: Asker, instance: Instance, path: str, attempt: int | None = None
) -> Located:
    """The file to hand out: of this attempt, else of the latest that has it. Raises NotFound, Denied.

    Files of an attempt that has ended are those of its manifest; one that runs may have more, but of a
    checkpoint only what a manifest names as whole: the rest is being written.
    """
    access.require(user, Action.DOWNLOAD, instance)
    attempts = Attempt.objects.filter(instance=instance).select_related("node").order_by("-number")
    if attempt is not None:
        attempts = attempts.filter(number=attempt)
    rows = OutputFile.objects.filter(AVAILABLE, attempt__in=attempts, path=path)
    listed = rows.select_related("attempt", "copy").order_by("-attempt__number").first()
    newest = attempts.first()
    runs = newest is not None and newest.ended_at is None
    if newest is not None and runs and _may_be_newer(path, listed):
        return Located(attempt=newest, path=path, listed=None)
    if listed is not None and listed.is_cut and listed.attempt.ended_at is None:
        raise _unfinished(path)
    if listed is None:
        if runs and checkpoint_of(path) is not None:
            raise _unfinished(path)
        gone = Removal.objects.filter(attempt__in=attempts, place=Place.NODE).first()
        if gone is not None:
            raise removed_error(instance_id=instance.pk, at=gone.begun_at)
        raise _missing(path)
    holder = attempts.get(pk=listed.attempt_id)
    return Located(attempt=holder, path=path, listed=listed if holder.ended_at else None)


def _may_be_newer(path: str, listed: OutputFile | None) -> bool:
    """What a running attempt may have beyond its last manifest; its node has the last word."""
    if path in _LIVE_FILES:
        return True
    is_output = listed is None and path.startswith(f"{paths.OUTPUT_FOLDER}/")
    return is_output and checkpoint_of(path) is None


def _gone() -> Gone:
    text = _("The files of this checkpoint are not there any more. Resume from another checkpoint.")
    return Gone("artifacts:checkpoint_gone", text)


def input_files(
    *, instance_id: int, attempt: int, hashes: Mapping[str, str]
) -> dict[str, OutputFile]:
    """Path -> row of the files that a resume was promised (path -> SHA-256). One query.

    Raises Gone when one was removed, or is another file by now.
    """
    rows = OutputFile.objects.select_related("attempt__node").filter(
        AVAILABLE, attempt__instance=instance_id, attempt__number=attempt
    )
    found = {row.path: row for row in rows.filter(path__in=list(hashes))}
    if {path: row.sha256 for path, row in found.items()} != dict(hashes):
        raise _gone()
    return found


def input_for_node(*, node: Node, signed: str) -> Located:
    """The file that a signed input address of this node speaks of. Raises Denied, Gone."""
    try:
        claims = signing.loads(signed, salt=INPUT_SALT, max_age=INPUT_MAX_AGE_S)
    except signing.BadSignature as error:  # also its subclass SignatureExpired
        raise Denied(
            "artifacts:bad_input_url",
            _("This address is wrong or too old; the command will be sent again."),
        ) from error
    if claims["node"] != node.name:
        raise Denied("artifacts:bad_input_url", _("This address was made for another node."))
    rows = OutputFile.objects.select_related("attempt__node", "copy")
    file = rows.filter(AVAILABLE, pk=claims["file"], sha256=claims["sha256"]).first()
    if file is None:
        raise _gone()
    return Located(attempt=file.attempt, path=file.path, listed=file)


@dataclass(frozen=True, kw_only=True)
class Results:
    """How far the saving of a job's results is. trouble: why it waits, for people; empty = it does not."""

    total: int
    kept: int
    too_large: int
    failed: int
    size_bytes: int
    is_done: bool
    trouble: str


def results_get(*, instance: Instance) -> Results | None:
    """Of an instance that the caller already may see; None = there is nothing to save, or not yet."""
    saving = ResultSaving.objects.filter(instance=instance).first()
    if saving is None:
        return None
    states = ResultCopy.State
    counts = (
        ResultCopy.objects.filter(file__attempt__instance=instance, is_wanted=True)
        .exclude(state=states.REMOVING)
        .aggregate(
            total=Count("pk", filter=~Q(state=states.TOO_LARGE)),
            kept=Count("pk", filter=Q(state=states.KEPT)),
            too_large=Count("pk", filter=Q(state=states.TOO_LARGE)),
            failed=Count("pk", filter=Q(state=states.FAILED)),
            size_bytes=Sum("file__size_bytes", filter=Q(state=states.KEPT)),
        )
    )
    return Results(
        total=counts["total"],
        kept=counts["kept"],
        too_large=counts["too_large"],
        failed=counts["failed"],
        size_bytes=counts["size_bytes"] or 0,
        is_done=saving.done_at is not None,
        trouble=str(saving.get_trouble_display()) if saving.trouble else "",
    )
