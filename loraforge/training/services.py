"""Writes of jobs: submit, edit, start and everything that people press afterwards."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from loraforge.accounts import access, sharing
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import audit
from loraforge.core.errors import Conflict, Gone, Invalid
from loraforge.datasets.models import Dataset
from loraforge.instances import services as instances
from loraforge.instances.models import Instance
from loraforge.instances.states import RETRYABLE, State
from loraforge.swift.models import model_name
from loraforge.training.checks import NAME_MAX, Verdict, draft_check
from loraforge.training.drafts import JobDraft, draft_of_job, weights_id
from loraforge.training.findings import Findings
from loraforge.training.freezing import frozen_columns, job_datasets_of
from loraforge.training.inputs import inputs_kept_require
from loraforge.training.launch import resume_of, resume_store
from loraforge.training.models import IdempotencyKey, Job, JobDataset
from loraforge.training.modules import hears_requests, started_require
from loraforge.training.options import options_check
from loraforge.training.selectors import job_has_files
from loraforge.training.weights import weights_hold, weights_may, weights_require

SHARE = "download_instance"
KEY_MAX = 200
_COPIED = (
    "command", "arguments", "model", "model_hub", "model_revision", "model_type", "template",
    "seed", "environment", "oom_recovery", "on_node_lost", "max_run_s", "save_every_s",
)  # fmt: skip
OPTIONS = ("oom_recovery", "on_node_lost", "max_run_s", "save_every_s")


def job_submit(*, actor: User, draft: JobDraft, start: bool, idempotency_key: str = "") -> Job:
    """A new job of the actor's, queued when ``start``. See `job_submit_once`."""
    job, _created = job_submit_once(
        actor=actor, draft=draft, start=start, idempotency_key=idempotency_key
    )
    return job


def job_submit_once(
    *, actor: User, draft: JobDraft, start: bool, idempotency_key: str = ""
) -> tuple[Job, bool]:
    """The job of this key, and whether it was made now.

    Raises Denied, Invalid (`training:invalid_job`, every problem under its field), Conflict
    (`training:key_reused`) when the key was sent with another request, Gone when its job was deleted.
    """
    access.require(actor, Action.CREATE)
    if len(idempotency_key) > KEY_MAX or not idempotency_key.isprintable():
        raise Invalid(
            "training:bad_key",
            _("An Idempotency-Key is at most %(limit)s printable characters.") % {"limit": KEY_MAX},
        )
    fingerprint = draft.fingerprint(start=start)
    known = _job_of_key(actor, idempotency_key, fingerprint)
    if known is not None:
        return known, False
    try:
        with transaction.atomic():
            job = _job_create(actor=actor, draft=draft, start=start)
            if idempotency_key:
                IdempotencyKey.objects.create(
                    owner=actor, key=idempotency_key, request_hash=fingerprint, job=job
                )
    except IntegrityError:
        # The same key came twice at once: the other request won.
        known = _job_of_key(actor, idempotency_key, fingerprint)
        if known is None:
            raise
        return known, False
    return job, True


def _job_of_key(actor: User, key: str, fingerprint: str) -> Job | None:
    if not key:
        return None
    rows = IdempotencyKey.objects.select_related("job__instance")
    kept = rows.filter(owner=actor, key=key).first()
    if kept is None:
        return None
    if kept.request_hash != fingerprint:
        text = _("This Idempotency-Key was sent before with another request. Use a new one.")
        raise Conflict("training:key_reused", text)
    if kept.job.instance.deleted_at is not None:
        raise Gone("training:deleted", _("The job of this Idempotency-Key was deleted."))
    return kept.job


def _job_create(*, actor: User, draft: JobDraft, start: bool) -> Job:
    verdict = draft_check(user=actor, draft=draft)
    verdict.findings.raise_if_any()
    started_require(draft.command)
    instance = instances.instance_create(
        actor=actor,
        owner=actor,
        name=draft.name.strip() or _name_made(actor, verdict),
        gpus=draft.devices_wanted,
        processes=draft.processes,
        wanted_node=verdict.room.node,
        wanted_devices=draft.gpu_uuids,
        priority=draft.priority,
        tags=draft.tags,
        notes=draft.notes,
    )
    job = Job(instance=instance)
    _write(job, verdict, actor=actor, seed_before=None)
    if start:
        weights_hold(job=job)
        job.instance = instances.instance_queue(actor=actor, instance=instance)
    return job


def _name_made(actor: User, verdict: Verdict) -> str:
    """Model and dataset, and a number when the owner has a job of that name: ``Qwen3-8B · faq 2``."""
    parts = [model_name(verdict.model), *(one.name for one in verdict.datasets[:1])]
    base = " · ".join(part for part in parts if part)[: NAME_MAX - 8].strip() or _("Job")
    base = "".join(letter for letter in base if letter.isprintable())
    taken = set(
        Instance.objects.filter(owner=actor, name__startswith=base).values_list("name", flat=True)
    )
    if base not in taken:
        return base
    return next(name for n in range(2, len(taken) + 3) if (name := f"{base} {n}") not in taken)


def _write(job: Job, verdict: Verdict, *, actor: User, seed_before: int | None) -> None:
    """Freeze the verdict on the row and replace the job's datasets."""
    rows = job_datasets_of(job, verdict)
    columns = frozen_columns(verdict, rows=rows, seed_before=seed_before)
    began_with = weights_id(job)
    for name, value in columns.items():
        setattr(job, name, value)
    job.save()
    if began_with != (begins_with := weights_id(job)):
        said = {"weights_from": [began_with, begins_with]}
        audit.record(actor=actor, target=job.instance, what="training:weights", changes=said)
    before = _names_of(job.job_datasets.select_related("dataset"))
    job.job_datasets.all().delete()
    JobDataset.objects.bulk_create(rows)
    inputs_kept_require(rows)
    if before != (after := _names_of(rows)):
        changes = {"datasets": [before, after]}
        audit.record(actor=actor, target=job.instance, what="training:datasets", changes=changes)


def _names_of(rows: Iterable[JobDataset]) -> list[str]:
    """How the audit log calls a job's datasets; a name alone may be that of several."""
    return [f"{row.use} {row.dataset.pk} ({row.dataset.name})" for row in rows]


def _require_draft(job: Job) -> None:
    instance = job.instance
    if instance.state != State.DRAFT or instance.attempt:
        text = _("Only a job that was never started can be changed. Make a new job from this one.")
        raise Conflict("training:not_a_draft", text)


@transaction.atomic
def job_draft_update(*, actor: User, job: Job, draft: JobDraft) -> Job:
    """Replace everything of a job that was not started yet. Raises as `job_submit_once`."""
    access.require(actor, Action.CHANGE, job)
    instance = Instance.objects.select_for_update().get(pk=job.pk)
    job.instance = instance
    _require_draft(job)
    verdict = draft_check(user=instance.owner, draft=draft)
    verdict.findings.raise_if_any()
    started_require(draft.command)
    _write(job, verdict, actor=actor, seed_before=job.seed)
    instances.instance_update(
        actor=actor,
        instance=instance,
        name=draft.name.strip() or None,
        tags=draft.tags,
        notes=draft.notes,
        priority=draft.priority,
    )
    job.instance = instances.instance_wish(
        actor=actor,
        instance=instance,
        gpus=draft.devices_wanted,
        processes=draft.processes,
        wanted_node=verdict.room.node,
        wanted_devices=draft.gpu_uuids,
    )
    return job


@transaction.atomic
def job_start(*, actor: User, job: Job) -> Job:
    """DRAFT -> QUEUED. What never ran is judged and frozen again: a dataset may be gone by now."""
    access.require(actor, Action.CHANGE, job)
    if job.instance.state == State.DRAFT and not job.instance.attempt:
        owner = job.instance.owner
        # What an operator raised stays raised, though the owner may not raise it.
        draft = replace(draft_of_job(job), priority=min(job.instance.priority, 0))
        verdict = draft_check(user=owner, draft=draft)
        verdict.findings.raise_if_any()
        _write(job, verdict, actor=actor, seed_before=job.seed)
    elif job.instance.state == State.DRAFT:  # one that was withdrawn
        datasets_require(job=job)
    else:
        raise Conflict("training:not_a_draft", _("This job was started already. Reload the page."))
    # A resume that was withdrawn from the queue is still one.
    resume = resume_of(job, attempt=job.instance.attempt + 1)
    step = resume.begins_at if resume else 0
    weights_require(job=job, resume=resume)
    weights_hold(job=job)
    job.instance = instances.instance_queue(
        actor=actor,
        instance=job.instance,
        step=step,
        max_steps=job.instance.max_steps if step else 0,
    )
    return job


@transaction.atomic
def job_withdraw(*, actor: User, job: Job) -> Job:
    """QUEUED -> DRAFT."""
    job.instance = instances.instance_withdraw(actor=actor, instance=job.instance)
    return job


@transaction.atomic
def job_stop(*, actor: User, job: Job) -> Job:
    """Save a checkpoint, then end."""
    job.instance = instances.instance_stop(actor=actor, instance=job.instance, mode="save")
    return job


@transaction.atomic
def job_cancel(*, actor: User, job: Job) -> Job:
    """End now, without saving."""
    job.instance = instances.instance_stop(actor=actor, instance=job.instance, mode="now")
    return job


@transaction.atomic
def job_checkpoint(*, actor: User, job: Job) -> Job:
    """Save a checkpoint and go on. Raises Conflict for a job that does not hear of it."""
    if not hears_requests(job):
        text = _("This job saves nothing on request.")
        raise Conflict("training:saves_nothing", text)
    instances.instance_checkpoint(actor=actor, instance=job.instance)
    return job


def datasets_require(*, job: Job) -> None:
    """Raises Conflict when the owner may not train on one of the job's datasets any more."""
    rows = Dataset.objects.filter(pk__in=job.job_datasets.values("dataset")).order_by("pk")
    kept = rows.filter(deleted_at=None)
    own = access.visible(job.instance.owner, kept, action=Action.DOWNLOAD)
    gone = list(rows.exclude(pk__in=own.values("pk")).values_list("name", flat=True))
    if gone:
        text = _("These datasets were deleted or are not shared any more: %(names)s.")
        raise Conflict("training:dataset_gone", text % {"names": ", ".join(gone)})


@transaction.atomic
def job_retry(*, actor: User, job: Job) -> Job:
    """The next attempt of a job that failed, was stopped or lost, from the start and unchanged."""
    access.require(actor, Action.CHANGE, job)
    if job.instance.state not in RETRYABLE:
        text = _("Only a failed, stopped or lost job can be tried again.")
        raise Conflict("training:not_retryable", text)
    datasets_require(job=job)
    weights_require(job=job)
    weights_hold(job=job)
    resume_store(job=job, attempt=job.instance.attempt + 1, resume=None)
    job.instance = instances.instance_queue(actor=actor, instance=job.instance)
    return job


@transaction.atomic
def job_clone(*, actor: User, job: Job) -> Job:
    """A draft of the actor's with the same settings; datasets that the actor may not use are left out."""
    access.require(actor, Action.CREATE)
    access.require(actor, Action.VIEW, job)
    source = job.instance
    instance = instances.instance_create(
        actor=actor,
        owner=actor,
        name=source.name,
        gpus=source.gpus,
        processes=source.processes,
        wanted_node=source.wanted_node,
        wanted_devices=source.wanted_devices,
        tags=source.tags,
    )
    clone = Job(instance=instance, parent=job, **{name: getattr(job, name) for name in _COPIED})
    clone.weights = job.weights if weights_may(user=actor, weights=job.weights) else {}
    clone.extra_models = [
        one
        for one in job.extra_models
        if weights_may(user=actor, weights=one.get("checkpoint") or {})
    ]
    clone.save()
    rows = job.job_datasets.select_related("dataset")
    JobDataset.objects.bulk_create(
        JobDataset(
            job=clone, dataset=row.dataset, use=row.use, position=row.position, sha256=row.sha256
        )
        for row in rows
        if row.dataset.deleted_at is None and access.allowed(actor, Action.DOWNLOAD, row.dataset)
    )
    return clone


@transaction.atomic
def job_update(
    *,
    actor: User,
    job: Job,
    name: str | None = None,
    tags: Sequence[str] | None = None,
    notes: str | None = None,
    keep: bool | None = None,
    priority: int | None = None,
    **options: Any,
) -> Job:
    """Change what may change at any time; None leaves a thing as it is.

    options: those of `JobDraft` "if something goes wrong". Raises Invalid for one that may not be.
    """
    if options:
        job_options_set(actor=actor, job=job, **options)
    job.instance = instances.instance_update(
        actor=actor,
        instance=job.instance,
        name=name,
        tags=tags,
        notes=notes,
        keep=keep,
        priority=priority,
    )
    return job


@transaction.atomic
def job_options_set(*, actor: User, job: Job, **options: Any) -> Job:
    """Change what happens if something goes wrong. The run time is bounded by the role of who asks.

    Raises Invalid (`training:invalid_job`), every problem under its field.
    """
    access.require(actor, Action.CHANGE, job)
    # The row before its instance, as everywhere where both are written.
    locked = Job.objects.select_for_update().get(pk=job.pk)
    changes = {
        name: [getattr(locked, name), value]
        for name, value in options.items()
        if getattr(locked, name) != value
    }
    if not changes:
        return job
    findings = Findings()
    kept = {name: getattr(locked, name) for name in OPTIONS}
    draft = JobDraft(**{**kept, **options})
    limit_s = options_check(user=actor, draft=draft, findings=findings)
    findings.raise_if_any()
    columns = dict(options)
    if "max_run_s" in changes:
        columns["run_limit_s"] = limit_s
    Job.objects.filter(pk=job.pk).update(**columns)
    for name, value in columns.items():
        setattr(job, name, value)
    audit.record(actor=actor, target=job, what="training:options", changes=changes)
    return job


@transaction.atomic
def job_delete(*, actor: User, job: Job, files: bool | None = None) -> None:
    """Delete a job that rests. Raises Invalid when it has files and nobody said what becomes of them."""
    access.require(actor, Action.CHANGE, job)
    if files is None and job_has_files(job=job):
        text = _("This job has output files. Say files=true to delete them too, or files=false.")
        raise Invalid("training:files_undecided", text, fields={"files": [text]})
    instances.instance_delete(actor=actor, instance=job.instance, files=bool(files))


def job_share(*, actor: User, job: Job, username: str) -> User:
    """Let a person see the job and download its files. Only the owner may."""
    return sharing.share_grant(actor=actor, row=job.instance, codename=SHARE, username=username)


def job_unshare(*, actor: User, job: Job, username: str) -> None:
    """Take that back."""
    sharing.share_revoke(actor=actor, row=job.instance, codename=SHARE, username=username)
