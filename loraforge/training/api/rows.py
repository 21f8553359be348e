"""Jobs as plain data, built by hand: a list of 50 is asked for at every look at the page."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.artifacts.lifetimes import retention_get
from loraforge.billing.selectors import cost_get
from loraforge.instances.models import Instance, progress_of, state_labels
from loraforge.instances.priorities import priority_class
from loraforge.scheduling.reasons import reason_text
from loraforge.telemetry.gaps import log_left_out
from loraforge.training.drafts import named_models, weights_id
from loraforge.training.faults import fault_of
from loraforge.training.models import Job, JobDataset

# API name -> lookup from the instance
_COLUMNS = {
    "id": "pk",
    "name": "name",
    "command": "job__command",
    "owner": "owner__username",
    "model": "job__model",
    "state": "state",
    "step": "step",
    "max_steps": "max_steps",
    "loss": "loss",
    "eta_s": "eta_s",
    "node": "node__name",
    "attempt": "attempt",
    "gpus": "gpus",
    "priority": "priority",
    "wait_reason": "wait_reason",
    "wait_detail": "wait_detail",
    "failure_reason": "failure_reason",
    "tags": "tags",
    "created_at": "created_at",
    "queued_at": "queued_at",
    "started_at": "started_at",
    "ended_at": "ended_at",
}
COLUMNS = tuple(_COLUMNS.values())
_NAMES = tuple(_COLUMNS)
_TIMES = ("created_at", "queued_at", "started_at", "ended_at")
_ACTIONS = (Action.VIEW, Action.DOWNLOAD, Action.CHANGE, Action.SHARE)


def _iso(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at is not None else None


def _finish(row: dict[str, Any], labels: Mapping[str, str]) -> dict[str, Any]:
    row["state_label"] = labels[row["state"]]
    row["progress"] = progress_of(row["state"], step=row["step"], max_steps=row["max_steps"])
    detail = row.pop("wait_detail")
    reason = row["wait_reason"]
    row["wait_text"] = reason_text(reason=reason, detail=detail) if reason else ""
    row["queue_position"] = detail.get("position") if reason else None
    row["expected_at"] = detail.get("expected_at") if reason else None
    row["priority_class"] = str(priority_class(row["priority"]))
    for name in _TIMES:
        row[name] = _iso(row[name])
    return row


def job_rows(page: Iterable[tuple[Any, ...]]) -> list[dict[str, Any]]:
    """The rows of the list from a `values_list(*COLUMNS)`."""
    labels = state_labels()
    return [_finish(dict(zip(_NAMES, values, strict=True)), labels) for values in page]


def _value(instance: Instance, path: str) -> Any:
    value: Any = instance
    for part in path.split("__"):
        value = getattr(value, part) if value is not None else None
    return value


def failure_plain(reason: str) -> dict[str, str] | None:
    """Whose a reason is and whether the same again may help; None without one."""
    if not reason:
        return None
    fault = fault_of(reason)
    return {"reason": reason, "owner": str(fault.owner), "retry": str(fault.again)}


def cost_plain(instance: Instance) -> dict[str, Any] | None:
    """What it has cost so far; None where nothing has a price."""
    cost = cost_get(instance=instance)
    if cost is None:
        return None
    return {
        "amount": f"{cost.amount:f}",
        "currency": cost.currency,
        "gpu_seconds": cost.gpu_seconds,
        "per_hour": f"{cost.per_hour:f}" if cost.per_hour is not None else None,
    }


def job_detail(job: Job, *, user: User) -> dict[str, Any]:
    """A job of `selectors.job_get` with everything that was frozen; `datasets` still as rows."""
    instance = job.instance
    values = {name: _value(instance, path) for name, path in _COLUMNS.items()}
    row = _finish(values, state_labels())
    files = retention_get(instance=instance)
    return {
        **row,
        "failure_detail": instance.failure_detail,
        "failure": failure_plain(instance.failure_reason),
        "retries": instance.retries,
        "oom_recovery": job.oom_recovery,
        "on_node_lost": job.on_node_lost,
        "max_run_s": job.max_run_s,
        "run_limit_s": job.run_limit_s,
        "save_every_s": job.save_every_s,
        "adjusted": job.adjusted,
        "exit_code": instance.exit_code,
        "saved_step": instance.saved_step,
        "processes": instance.processes,
        "wanted_node": instance.wanted_node.name if instance.wanted_node else None,
        "gpu_uuids": instance.wanted_devices,
        "notes": instance.notes,
        "keep": instance.keep,
        "log_left_out_lines": log_left_out(instance=instance),
        "output_bytes": files.output_bytes,
        "files_removal_at": _iso(files.removal_at),
        "files_removed_at": _iso(files.removed_at),
        "parent": job.parent_id,
        "weights_from": weights_id(job),
        **named_models(job.extra_models),
        "reward_files": [
            row.dataset_id for row in job.job_datasets.all() if row.use == JobDataset.Use.REWARD
        ],
        "arguments": job.arguments,
        "environment": job.environment,
        "model_hub": job.model_hub,
        "model_revision": job.model_revision,
        "model_type": job.model_type,
        "template": job.template,
        "seed": job.seed,
        "catalogue_version": job.catalogue_version,
        "image": job.image,
        "argv": job.argv,
        "cost": cost_plain(instance),
        "allowed": [str(action) for action in _ACTIONS if access.allowed(user, action, job)],
    }
