"""What a job's page needs to know of the job: its words, its actions, its tabs."""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.conf import settings
from django.urls import reverse
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.artifacts.lifetimes import Retention, retention_get
from loraforge.artifacts.selectors import checkpoint_list
from loraforge.billing.selectors import Cost, cost_get
from loraforge.core.redaction import redact
from loraforge.dashboard.explain import (
    Diagnosis,
    diagnosis,
    diagnosis_of,
    method_label,
    reason_words,
    value_shown,
)
from loraforge.dashboard.selectors import attempt_of
from loraforge.dashboard.timeline import ShownStage, now_text, timeline_of
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import ACTIVE, RESTING, RETRYABLE, STOPPABLE, TERMINAL, State
from loraforge.migration.models import Migration
from loraforge.migration.selectors import migration_shown
from loraforge.migration.states import Ending
from loraforge.scheduling.reasons import start_text
from loraforge.scheduling.selectors import queue_position, wait_text
from loraforge.swift.catalogue import catalogue_load
from loraforge.swift.compiler import hears_plugin
from loraforge.telemetry.gaps import log_left_out
from loraforge.training.faults import Again, fault_of
from loraforge.training.launch import resume_of
from loraforge.training.models import Job
from loraforge.training.modules import hears_requests, is_training, job_type_label
from loraforge.training.options import DEAF
from loraforge.training.policy import RETRIES_MAX, Refused
from loraforge.training.recovery import batch_of
from loraforge.training.remedies import remedy_of
from loraforge.training.selectors import command_line
from nodeagent.contract.phases import Phase


@dataclass(frozen=True)
class Actions:
    """Which buttons the page shows; the services refuse by themselves what is not shown."""

    start: bool = False
    stop: bool = False
    cancel: bool = False
    withdraw: bool = False
    checkpoint: bool = False
    resume: bool = False
    retry: bool = False
    clone: bool = False
    change: bool = False  # a new job with what its failure suggests
    train_on: str = ""  # <attempt>:<step> of the newest weights that a new job could begin with
    delete: bool = False
    rename: bool = False
    download: bool = False
    keep: bool = False
    unkeep: bool = False
    migrate: bool = False


def actions_of(*, user: User, job: Job, files: Retention, is_moving: bool = False) -> Actions:
    """By state, and by what the user may do to this job."""
    instance = job.instance
    state = State(instance.state)
    change = access.allowed(user, Action.CHANGE, instance)
    create = access.may(user, Action.CREATE)
    download = access.allowed(user, Action.DOWNLOAD, instance)
    weights = _weights_newest(instance) if state in TERMINAL else ""
    return Actions(
        start=change and state is State.DRAFT,
        stop=change and state in STOPPABLE,
        cancel=change and (state in STOPPABLE or state is State.STOPPING),
        withdraw=change and state is State.QUEUED,
        checkpoint=change and state is State.RUNNING and hears_requests(job),
        resume=change and state in RETRYABLE and bool(weights),
        retry=change and state in RETRYABLE and _helps_retry(instance),
        clone=create,
        change=create and bool(job_remedy(job)),
        train_on=weights if create and download else "",
        delete=change and state in RESTING,
        rename=change,
        download=download,
        keep=change and not instance.keep and files.removed_at is None,
        unkeep=change and instance.keep,
        migrate=change and state is State.RUNNING and not is_moving and is_training(job.command),
    )


def _weights_newest(instance: Instance) -> str:
    """Something to go on from; whether it can be had right now, the dialog says."""
    known = checkpoint_list(instance=instance) if instance.attempt else []
    whole = (f"{one.attempt}:{one.step}" for one in known if not one.weights_missing)
    return next(whole, "")


def _helps_retry(instance: Instance) -> bool:
    """Nothing is changed by a retry, so it helps only where settings, data and code were not the cause."""
    found = diagnosis(instance) if instance.state == State.FAILED else None
    return found is None or found.can_retry


@dataclass(frozen=True)
class Below:
    """What is said below the state (glossary.md section 2)."""

    text: str
    position: int | None = None


def _preparing(attempt: Attempt | None) -> str:
    now = now_text(attempt)
    if now:
        return now
    steps = {
        Phase.ACCEPTED: _("The node has taken it over"),
        Phase.PREPARING: _("Fetching and checking the data"),
        Phase.STARTING: _("Starting the training process"),
    }
    fallback = _("Getting model, dataset and folder ready")
    phase = attempt.phase if attempt is not None else ""
    return next((text for known, text in steps.items() if known == phase), fallback)


def _stopped(instance: Instance) -> str:
    if instance.saved_step is not None:
        return _("The checkpoint of step %(step)s is among the files.") % {
            "step": instance.saved_step
        }
    return _("Nothing was saved after the last checkpoint.")


def _again(instance: Instance, attempt: Attempt | None) -> str:
    """Why the system queued it once more."""
    if not instance.retries or attempt is None:
        return ""
    found = diagnosis_of(attempt.failure_reason, attempt.failure_detail)
    return found.cause if found is not None else ""


def tried_text(job: Job) -> str:
    """What the system has done about a failure before it gave up; empty when it did nothing."""
    instance = job.instance
    if fault_of(instance.failure_reason).again is Again.SMALLER and job.oom_recovery:
        return reason_words(Refused.HALVED_ALREADY if job.adjusted else Refused.BATCH_IS_ONE)
    is_over = instance.failure_reason and instance.retries >= RETRIES_MAX
    return reason_words(Refused.LIMIT) if is_over else ""


def job_remedy(job: Job) -> dict[str, Any]:
    """What a new job would change about one that failed; empty where no change of arguments is known to help."""
    if job.instance.state not in {State.FAILED, State.STOPPED}:
        return {}
    arguments = {**job.arguments, **job.adjusted}
    return remedy_of(job.instance.failure_reason, arguments=arguments, batch=batch_of(job))


def below_of(instance: Instance, attempt: Attempt | None, files: Retention) -> Below:
    """One sentence about what happens now, or what became of it."""
    state = State(instance.state)
    if files.removed_at is not None and state in {State.SUCCEEDED, State.STOPPED}:
        date = {"date": f"{files.removed_at:%Y-%m-%d}"}
        return Below(text=_("The output files were removed on %(date)s.") % date)
    if state is State.QUEUED:
        start = _("%(text)s.") % {"text": start_text(detail=instance.wait_detail)}
        start = start if instance.wait_reason else ""
        text = " ".join(
            part
            for part in (_again(instance, attempt), wait_text(instance=instance), start)
            if part
        )
        return Below(text=text, position=queue_position(instance=instance))
    grace = _("A checkpoint is being saved.")
    if attempt is not None and attempt.stop_requested == "now":
        grace = _("It ends now, without saving.")
    node = {"node": instance.node.name if instance.node else ""}
    texts = {
        State.DRAFT: _("Saved. It queues when you press Start training."),
        State.ASSIGNED: _("%(node)s is told to start it.") % node,
        State.PREPARING: _preparing(attempt),
        State.RUNNING: "",
        State.FINISHING: _("Checking and saving the results"),
        State.SUCCEEDED: _("The LoRA weights and all output files are ready to download."),
        State.STOPPING: grace,
        State.STOPPED: _stopped(instance),
        State.FAILED: "",
        State.UNKNOWN: _(
            "The node does not answer. The training may still go on; this page renews itself when it is back."
        ),
        State.LOST: _("The node did not come back. Resume from a checkpoint, or retry."),
    }
    return Below(text=texts[state])


@dataclass(frozen=True)
class Setting:
    """One argument that was set, beside SWIFT's default."""

    name: str
    value: Any
    default: Any
    known: bool

    @property
    def is_default(self) -> bool:
        """It was set to what SWIFT takes anyway."""
        return self.known and self.default == self.value


def settings_of(job: Job) -> list[Setting]:
    """The changed arguments, in SWIFT's order, each beside its default."""
    command = catalogue_load(job.catalogue_version or "4.6.0").commands.get(job.command)
    found = []
    for name, value in job.arguments.items():
        argument = command.argument(name) if command else None
        found.append(
            Setting(
                name=name,
                value=value,
                default=argument.default if argument else None,
                known=argument is not None,
            )
        )
    return found


def command_of(job: Job) -> str:
    """The frozen command to read and to copy, without secrets; with the weights that it begins with."""
    begin = resume_of(job, attempt=0)
    words = [*(str(word) for word in job.argv), *(begin.flags if begin else [])]
    return redact(command_line(words, job.environment)) if job.argv else ""


@dataclass(frozen=True)
class JobView:
    """Everything that the header and the tabs show of a job."""

    instance: Instance
    job: Job
    attempt: Attempt | None
    actions: Actions
    below: Below
    diagnosis: Diagnosis | None
    job_type: str
    method: str  # of a training
    is_active: bool
    is_ended: bool
    tried: str
    files: Retention
    left_out: int  # lines of its log
    cost: Cost | None
    migration: Migration | None  # that goes on, or has failed

    @property
    def is_deaf(self) -> bool:
        """True when SWIFT does not hear the platform's wish to save."""
        return not hears_plugin(self.job.command, self.job.arguments)

    @property
    def deaf_text(self) -> str:
        return str(DEAF)

    @property
    def save_every_s(self) -> int:
        """Seconds between checkpoints by the clock; 0 = none."""
        own = self.job.save_every_s
        return int(settings.CHECKPOINT_EVERY_S if own is None else own)

    @property
    def timeline(self) -> list[ShownStage]:
        """The way to the first step, while it has not been reached."""
        if self.attempt is None or self.attempt.first_step_at or not self.is_active:
            return []
        return timeline_of(self.attempt)

    @property
    def is_process_runtime(self) -> bool:
        """True when it runs, or ran, as a plain process."""
        return bool(self.instance.node and self.instance.node.is_process_runtime)

    @property
    def change_text(self) -> str:
        """What a new job with the suggested change would have."""
        return " ".join(
            f"--{name} {value_shown(value)}" for name, value in job_remedy(self.job).items()
        )

    @property
    def train_on_url(self) -> str:
        """The form of a new job that begins with the newest weights."""
        query = urlencode({"from": self.instance.pk, "weights": self.actions.train_on})
        return f"{reverse('dashboard:job_new')}?{query}"

    @property
    def started(self) -> bool:
        return self.instance.attempt > 0


def job_view(*, user: User, job: Job) -> JobView:
    """Put together what the page shows of a job that the user may see."""
    instance = job.instance
    attempt = attempt_of(instance)
    state = State(instance.state)
    files = retention_get(instance=instance)
    migration = migration_shown(instance=instance)
    is_moving = migration is not None and migration.state == Ending.ACTIVE
    return JobView(
        instance=instance,
        job=job,
        attempt=attempt,
        actions=actions_of(user=user, job=job, files=files, is_moving=is_moving),
        below=below_of(instance, attempt, files),
        diagnosis=diagnosis(instance) if state in TERMINAL else None,
        job_type=job_type_label(job.command, job.arguments),
        method=method_label(job.arguments) if is_training(job.command) else "",
        is_active=state in ACTIVE,
        is_ended=state in TERMINAL,
        tried=tried_text(job),
        files=files,
        left_out=log_left_out(instance=instance),
        cost=cost_get(instance=instance),
        migration=migration,
    )
