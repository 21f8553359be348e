"""Choosing a checkpoint of a job, and what of it a next attempt, or another job, is handed.

Only a checkpoint whose manifest names every file that a resume reads, each of them whole, is ever
chosen: a trainer that was killed while it saved leaves a folder that looks like one.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.utils.translation import gettext as _

from loraforge.artifacts.checkpoints import is_needed
from loraforge.artifacts.selectors import Checkpoint, checkpoint_files, checkpoint_list
from loraforge.core.errors import Conflict, Invalid, NotFound
from loraforge.instances.models import Attempt
from loraforge.nodes.models import NodeState
from loraforge.telemetry.selectors import losses_at
from loraforge.training.launch import Resume, ResumeFile
from loraforge.training.models import Job

LOSSES_SHOWN = 50  # SWIFT without a limit may leave hundreds
AWAY = frozenset({NodeState.OFFLINE, NodeState.LOST})


@dataclass(frozen=True, kw_only=True)
class CheckpointChoice:
    """A checkpoint to choose from.

    node: who saved it. is_away: that node does not answer now, so only what is kept can be had. loss,
    eval_loss: the newest logged at its step or shortly before.
    """

    checkpoint: Checkpoint
    node: str
    is_away: bool
    loss: float | None
    eval_loss: float | None

    @property
    def id(self) -> str:
        """``<attempt>:<step>``, as `job_resume` takes it."""
        return f"{self.checkpoint.attempt}:{self.checkpoint.step}"

    @property
    def can_resume(self) -> bool:
        return self.checkpoint.is_complete and (self.checkpoint.is_kept or not self.is_away)

    @property
    def can_resume_weights(self) -> bool:
        is_there = self.checkpoint.are_weights_kept or not self.is_away
        return not self.checkpoint.weights_missing and is_there


def choices_of(job: Job) -> list[CheckpointChoice]:
    """All of a job that the caller already may see, newest first. A constant number of queries."""
    instance = job.instance
    listed = checkpoint_list(instance=instance)
    attempts = Attempt.objects.filter(instance=instance).select_related("node")
    holders = {attempt.number: attempt.node for attempt in attempts}
    shown = [(one.attempt, one.step) for one in listed[:LOSSES_SHOWN]]
    losses = losses_at(instance=instance, places=shown)
    found = []
    for one in listed:
        node = holders[one.attempt]
        loss, eval_loss = losses.get((one.attempt, one.step), (None, None))
        found.append(
            CheckpointChoice(
                checkpoint=one,
                node=node.name,
                is_away=node.state in AWAY,
                loss=loss,
                eval_loss=eval_loss,
            )
        )
    return found


def resume_made(job: Job, checkpoint: Checkpoint, *, weights_only: bool) -> Resume:
    """What an attempt that goes on from it is handed."""
    files = checkpoint_files(instance=job.instance, checkpoint=checkpoint)
    names = {file: file.path.removeprefix(f"{checkpoint.path}/") for file in files}
    return Resume(
        attempt=checkpoint.attempt,
        step=checkpoint.step,
        path=checkpoint.path,
        files=[
            ResumeFile(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)
            for file, name in names.items()
            if is_needed(name, weights_only=weights_only)
        ],
        weights_only=weights_only,
    )


def choice_made(
    choices: list[CheckpointChoice], *, wanted: str | None, weights_only: bool
) -> CheckpointChoice:
    """The one that is wanted (``<attempt>:<step>``), else the newest that can be had.

    Raises Invalid, NotFound, or Conflict where it cannot be had or there is none; field ``checkpoint``.
    """
    if wanted is not None:
        choice = _named(choices, wanted)
        _usable_require(choice, weights_only=weights_only)
        return choice
    usable = [one for one in choices if _is_usable(one, weights_only=weights_only)]
    if usable:
        return usable[0]
    _away_refuse(one for one in choices if _is_whole(one, weights_only=weights_only))
    text = _("No complete checkpoint was saved. Press Retry to start from the beginning.")
    raise Conflict("training:no_checkpoint", text)


def _named(choices: list[CheckpointChoice], wanted: str) -> CheckpointChoice:
    attempt, colon, step = wanted.partition(":")
    if not (colon and _is_number(attempt) and _is_number(step)):
        text = _("A checkpoint is <attempt>:<step>, for instance 1:400.")
        raise Invalid("training:bad_checkpoint", text, fields={"checkpoint": [text]})
    found = next((one for one in choices if one.id == f"{int(attempt)}:{int(step)}"), None)
    if found is None:
        text = _("There is no checkpoint %(id)s any more. Choose another one.") % {"id": wanted}
        raise NotFound("training:checkpoint_gone", text, fields={"checkpoint": [text]})
    return found


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= 18  # noqa: PLR2004 - of 64 bits


def _is_whole(choice: CheckpointChoice, *, weights_only: bool) -> bool:
    checkpoint = choice.checkpoint
    return not (checkpoint.weights_missing if weights_only else checkpoint.missing)


def _is_usable(choice: CheckpointChoice, *, weights_only: bool) -> bool:
    return choice.can_resume_weights if weights_only else choice.can_resume


def _usable_require(choice: CheckpointChoice, *, weights_only: bool) -> None:
    checkpoint = choice.checkpoint
    if not _is_whole(choice, weights_only=weights_only):
        missing = checkpoint.weights_missing if weights_only else checkpoint.missing
        text = _("checkpoint-%(step)s is not complete (missing: %(files)s). Choose an earlier one.")
        said = text % {"step": checkpoint.step, "files": ", ".join(missing)}
        raise Conflict("training:checkpoint_incomplete", said, fields={"checkpoint": [said]})
    if not _is_usable(choice, weights_only=weights_only):
        _away_refuse([choice])


def _away_refuse(choices: Iterable[CheckpointChoice]) -> None:
    """Raises Conflict for the first whose node does not answer."""
    away = next((one for one in choices if one.is_away), None)
    if away is not None:
        text = _(
            "checkpoint-%(step)s lies on %(node)s, which does not answer. "
            "Wait until it is back, or choose another checkpoint."
        )
        said = text % {"step": away.checkpoint.step, "node": away.node}
        raise Conflict("training:checkpoint_away", said, fields={"checkpoint": [said]})
