"""One migration, locked with its instance: what is known of it, and what a step may change."""

import logging
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.utils import timezone

from loraforge.core import audit, events
from loraforge.core.errors import Conflict
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.instances.moving import devices_let_go, instance_switch
from loraforge.instances.states import MOVED, State
from loraforge.migration.models import Migration
from loraforge.migration.states import Ending, Step
from loraforge.nodes.models import NodeState
from loraforge.training.launch import resume_store
from loraforge.training.models import Job
from loraforge.training.resuming import resume_find

log = logging.getLogger(__name__)

ASK_AGAIN = timedelta(seconds=30)  # a command may be lost, and its tokens last for minutes
OVER = frozenset({State.STOPPED, State.FAILED})


class Ends(Exception):
    """It goes no further. reason: `area:what`."""

    def __init__(self, ending: Ending, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.ending, self.reason, self.detail = ending, reason, detail


def fails(reason: str, detail: str = "") -> Ends:
    return Ends(Ending.FAILED, reason, detail)


class Move:
    """One migration, locked, with its instance, locked too."""

    def __init__(self, row: Migration) -> None:
        self.row = row
        self.instance = Instance.objects.select_for_update().get(pk=row.instance_id)
        self.job = Job.objects.get(pk=row.instance_id)
        self.job.instance = self.instance

    # -- what is known

    @property
    def state(self) -> State:
        return State(self.instance.state)

    @property
    def source_attempt(self) -> Attempt:
        return Attempt.objects.get(instance=self.instance, number=self.row.source_attempt)

    def waits_longer(self, seconds: float, *, since_progress: bool = False) -> bool:
        """Nothing has come of this step for so long."""
        since = self.row.step_at
        if since_progress and self.row.staged_at is not None:
            since = max(since, self.row.staged_at)
        return timezone.now() - since > timedelta(seconds=seconds)

    # -- what is changed

    def update(self, **fields: object) -> None:
        Migration.objects.filter(pk=self.row.pk).update(**fields)
        for name, value in fields.items():
            setattr(self.row, name, value)

    def go_to(self, step: Step) -> None:
        self.update(step=step, step_at=timezone.now(), asked_at=None)
        log.info("#%d: migration is at %s", self.instance.pk, step)

    def is_ask_due(self) -> bool:
        """Whether a command is to be sent (again); noted at once."""
        now = timezone.now()
        if self.row.asked_at is not None and now - self.row.asked_at < ASK_AGAIN:
            return False
        self.update(asked_at=now)
        return True

    def end(self, end: Ends) -> None:
        """Let go of everything; a training that was stopped for this goes on at its source."""
        reason, detail = end.reason, end.detail
        if end.ending is Ending.FAILED:
            self._back_to_source()
        devices_let_go(instance=self.instance)
        self._close(end.ending, reason, detail)

    def done(self, reason: str = "") -> None:
        devices_let_go(instance=self.instance)
        self._close(Ending.DONE, reason, "")

    def _close(self, ending: Ending, reason: str, detail: str) -> None:
        self.update(state=ending, error=reason, error_detail=detail, ended_at=timezone.now())
        InstanceEvent.objects.create(
            instance=self.instance,
            attempt=self.instance.attempt,
            reason=f"migration:{ending}",
            detail=" ".join(
                word for word in (f"{self.row.source} -> {self.row.target}", reason, detail) if word
            ),
        )
        audit.record(
            actor=None,
            target=self.instance,
            what=f"migration:{ending}",
            changes={"step": [None, self.row.step], "error": [None, reason]},
        )
        events.emit(events.MIGRATION_ENDED, migration=self.row)

    def _back_to_source(self) -> None:
        """Only what this move itself has stopped: a person's stop stays one."""
        if not self._was_moved():
            return
        source = self.row.source
        if source.state not in {NodeState.ONLINE, NodeState.SUSPECT}:
            return  # its owner resumes it; the page says how
        resume = resume_find(job=self.job)
        number = self.instance.attempt
        try:
            with transaction.atomic():
                resume_store(job=self.job, attempt=number + 1, resume=resume)
                instance_switch(
                    instance=self.instance,
                    attempt=number,
                    node_id=source.pk,
                    devices=self.row.source_devices,
                    step=resume.step if resume is not None else 0,
                    reason="migration:back",
                )
        except (Conflict, IntegrityError) as error:
            log.warning("#%d cannot go back to %s: %s", self.instance.pk, source, error)

    def _was_moved(self) -> bool:
        number = self.instance.attempt
        if number == self.row.source_attempt:
            attempt = self.source_attempt
            asked = attempt.stop_reason == MOVED and attempt.stop_requested == "save"
            return asked and self.state in OVER
        return number == self.row.target_attempt and self.state in OVER | {State.QUEUED}
