"""Reads of output files, filtered by what the asker may see."""

from dataclasses import dataclass

from django.contrib.auth.models import AnonymousUser
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.artifacts.models import BestCheckpoint, OutputFile
from loraforge.artifacts.roles import checkpoint_of
from loraforge.core.errors import NotFound
from loraforge.instances.models import Attempt, Instance
from nodeagent.contract import paths

Asker = User | AnonymousUser

_LIVE_FILES = frozenset({paths.CONSOLE_FILE, paths.EVENTS_FILE, paths.METRICS_FILE})


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A checkpoint folder that lies on a node."""

    attempt: int
    step: int
    path: str
    is_latest: bool
    is_best: bool


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
        OutputFile.objects.filter(attempt__instance=instance, removed_at=None)
        .select_related("attempt")
        .order_by("-attempt__number", "path")
    )


def checkpoint_list(*, instance: Instance) -> list[Checkpoint]:
    """All checkpoints, newest first, of an instance that the caller already may see."""
    rows = OutputFile.objects.filter(
        attempt__instance=instance, removed_at=None, path__contains="checkpoint-"
    ).values_list("attempt__number", "path")
    found = {(number, *folder) for number, path in rows if (folder := checkpoint_of(path))}
    ordered = sorted(found, key=lambda each: (each[0], each[2]), reverse=True)
    bests = BestCheckpoint.objects.filter(attempt__instance=instance).values_list(
        "attempt__number", "step"
    )
    best = max(bests, default=None)
    return [
        Checkpoint(
            attempt=number,
            step=step,
            path=path,
            is_latest=place == 0,
            is_best=best == (number, step),
        )
        for place, (number, path, step) in enumerate(ordered)
    ]


def _missing(path: str) -> NotFound:
    return NotFound("artifacts:not_found", _("There is no file %(path)s.") % {"path": path})


def output_file_locate(
    *, user: Asker, instance: Instance, path: str, attempt: int | None = None
) -> Located:
    """The file to hand out: of this attempt, else of the latest that has it. Raises NotFound, Denied.

    Files of an attempt that has ended are those of its manifest; one that runs may have more.
    """
    access.require(user, Action.DOWNLOAD, instance)
    attempts = Attempt.objects.filter(instance=instance).select_related("node").order_by("-number")
    if attempt is not None:
        attempts = attempts.filter(number=attempt)
    rows = OutputFile.objects.filter(attempt__in=attempts, path=path, removed_at=None)
    listed = rows.order_by("-attempt__number").first()
    newest = attempts.first()
    if newest is not None and newest.ended_at is None and _may_be_newer(path, listed):
        return Located(attempt=newest, path=path, listed=None)
    if listed is None:
        raise _missing(path)
    holder = attempts.get(pk=listed.attempt_id)
    return Located(attempt=holder, path=path, listed=listed if holder.ended_at else None)


def _may_be_newer(path: str, listed: OutputFile | None) -> bool:
    """What a running attempt may have beyond its last manifest; its node has the last word."""
    return path in _LIVE_FILES or (listed is None and path.startswith(f"{paths.OUTPUT_FOLDER}/"))
