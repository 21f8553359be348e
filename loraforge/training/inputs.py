"""Whether the datasets of a draft are there, may be trained on, and fit the command."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import errors
from loraforge.datasets.columns import Conflict, Mapped, merged
from loraforge.datasets.fitness import lacks
from loraforge.datasets.models import Dataset, DatasetState
from loraforge.datasets.overlap import overlaps
from loraforge.training.drafts import JobDraft
from loraforge.training.findings import Findings
from loraforge.training.models import JobDataset

DATASETS_MAX = 100
REWARD_FILES_MAX = 20
EXTRA_MODELS_MAX = 8
_LACKS = {
    "questions": gettext_noop(
        "%(name)s holds plain text, which fits Pre-training. Change the stage, or upload "
        "questions with answers."
    ),
    "answer": gettext_noop(
        "The rows of %(name)s have no answers to be learned. Choose another dataset, or use them for GRPO, "
        "PPO or inference."
    ),
    "rejected": gettext_noop(
        "The rows of %(name)s have no rejected answer (rejected_response or rejected_messages), which this "
        "algorithm compares with the answer."
    ),
    "label": gettext_noop("The rows of %(name)s have no label, which this needs."),
}


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """What a draft's ids stand for, in its order; bad ones are left out."""

    datasets: list[Dataset]
    validation: list[Dataset]
    reward_files: list[Dataset]


def datasets_check(*, user: User, draft: JobDraft, findings: Findings) -> Inputs:
    """The training and validation sets, and the files with reward functions. Two queries."""
    both = {
        "datasets": draft.datasets,
        "validation_datasets": draft.validation_datasets,
        "reward_files": draft.reward_files,
    }
    wanted = {one for ids in both.values() for one in ids}
    found = access.visible(user, Dataset.objects.filter(pk__in=wanted, deleted_at=None))
    known = {dataset.pk: dataset for dataset in found}
    own = access.visible(user, found, action=Action.DOWNLOAD)
    trainable = set(own.values_list("pk", flat=True))
    usable: dict[str, list[Dataset]] = {}
    for name, ids in both.items():
        _list_check(name, ids, findings)
        faults = {
            one: _fault(draft, name, one, known.get(one), may=one in trainable)
            for one in dict.fromkeys(ids)
        }
        for fault in filter(None, faults.values()):
            findings.refuse(name, fault)
        usable[name] = [known[one] for one, fault in faults.items() if not fault]
    rows = [*usable["datasets"], *usable["validation_datasets"]]
    _columns_check(rows, draft.arguments, findings)
    _overlaps_tell(usable["datasets"], usable["validation_datasets"], findings)
    return Inputs(
        datasets=usable["datasets"],
        validation=usable["validation_datasets"],
        reward_files=usable["reward_files"],
    )


def _overlaps_tell(
    training: Iterable[Dataset], validation: Iterable[Dataset], findings: Findings
) -> None:
    for found in overlaps(training=training, validation=validation):
        names = {"one": found.validation.name, "other": found.training.name, "rows": found.rows}
        text = (
            _("About %(rows)s rows of %(one)s stand in %(other)s too, as an estimate.")
            if found.is_estimate
            else _("%(rows)s rows of %(one)s stand in %(other)s too.")
        )
        told = _("The validation loss will look better than it is.")
        findings.warn("validation_datasets", f"{text % names} {told}")


def _list_check(name: str, ids: Sequence[int], findings: Findings) -> None:
    if name == "reward_files" and len(ids) > REWARD_FILES_MAX:
        findings.refuse(name, _("At most %(limit)s files.") % {"limit": REWARD_FILES_MAX})
    elif len(ids) > DATASETS_MAX:
        findings.refuse(name, _("At most %(limit)s datasets.") % {"limit": DATASETS_MAX})
    if len(set(ids)) != len(ids):
        findings.refuse(name, _("A dataset is chosen twice. Remove one of the two."))


def _fault(
    draft: JobDraft, field: str, dataset_id: int, dataset: Dataset | None, *, may: bool
) -> str:
    if dataset is None:
        text = _("There is no dataset %(id)s. Choose one of yours, or upload it.")
        return text % {"id": dataset_id}
    name = {"name": dataset.name}
    if not may:
        return _("Only the owner of %(name)s may train on it. Ask them to share it.") % name
    if dataset.state != DatasetState.READY:
        return _("%(name)s cannot be used. Correct its errors and upload it again.") % name
    if (field == "reward_files") != (dataset.kind == Dataset.Kind.CODE):
        return _kind_text(field) % name
    lacking = _lacking(draft, dataset)
    return _(_LACKS[lacking]) % name if lacking else ""


def _lacking(draft: JobDraft, dataset: Dataset) -> str:
    """What the rows lack for this job; of a remote dataset nobody knows."""
    if dataset.kind != Dataset.Kind.UPLOADED:
        return ""
    given = {
        name: str(draft.arguments.get(name) or "").lower() for name in ("rlhf_type", "task_type")
    }
    return lacks(
        command=draft.command, row_format=dataset.row_format, traits=dataset.traits, **given
    )


def columns_of(datasets: Iterable[Dataset]) -> tuple[dict[str, str], Conflict | None]:
    """What `--columns` must be for these datasets: SWIFT has one mapping for all of a job."""
    return merged(Mapped(one.name, one.columns, one.column_names) for one in datasets)


def _columns_check(
    datasets: Iterable[Dataset], arguments: Mapping[str, object], findings: Findings
) -> None:
    """Refuse datasets whose columns contradict each other, and a mapping of the user's beside theirs."""
    columns, conflict = columns_of(datasets)
    if conflict is not None:
        text = _(
            "SWIFT has one meaning of a column for all datasets of a job: %(column)s means one thing in "
            "%(one)s and another in %(other)s. Train on them in two jobs, or rename the column in one."
        )
        findings.refuse("datasets", text % conflict._asdict())
    elif columns and arguments.get("columns") not in (None, {}, columns):
        text = _("The chosen datasets say themselves which column is what. Leave this empty.")
        findings.refuse("arguments.columns", text)


def _kind_text(field: str) -> str:
    if field == "reward_files":
        return _("%(name)s holds rows. Choose a Python file with reward functions.")
    return _("%(name)s holds code, not rows. Choose it under Reward function.")


def inputs_kept_require(rows: Iterable[JobDataset]) -> None:
    """Raises Conflict for a dataset that was deleted since it was judged; from here on a job keeps it."""
    gone = Dataset.objects.filter(pk__in=[row.dataset_id for row in rows]).exclude(deleted_at=None)
    if gone.exists():
        text = _("A dataset of this job was deleted just now. Choose another one.")
        raise errors.Conflict("training:dataset_gone", text, fields={"datasets": [text]})
