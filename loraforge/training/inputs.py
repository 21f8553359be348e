"""Whether the datasets of a draft are there, may be trained on, and fit the command."""

from collections.abc import Sequence

from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.datasets import rows
from loraforge.datasets.models import Dataset, DatasetState
from loraforge.training.drafts import JobDraft
from loraforge.training.findings import Findings
from loraforge.training.models import Command

DATASETS_MAX = 100
REWARD_FILES_MAX = 20
EXTRA_MODELS_MAX = 8


def datasets_check(
    *, user: User, draft: JobDraft, findings: Findings
) -> tuple[list[Dataset], list[Dataset]]:
    """The training and the validation datasets, in the draft's order; bad ones are left out."""
    wanted = {*draft.datasets, *draft.validation_datasets}
    found = access.visible(user, Dataset.objects.filter(pk__in=wanted, deleted_at=None))
    known = {dataset.pk: dataset for dataset in found}
    faults = {one: _fault(user, draft, one, known.get(one)) for one in wanted}
    usable: dict[str, list[Dataset]] = {}
    both = {"datasets": draft.datasets, "validation_datasets": draft.validation_datasets}
    for name, ids in both.items():
        _list_check(name, ids, findings)
        for dataset_id in dict.fromkeys(ids):
            if faults[dataset_id]:
                findings.refuse(name, faults[dataset_id])
        good = [one for one in dict.fromkeys(ids) if not faults[one]]
        usable[name] = [known[dataset_id] for dataset_id in good]
    return usable["datasets"], usable["validation_datasets"]


def _list_check(name: str, ids: Sequence[int], findings: Findings) -> None:
    if len(ids) > DATASETS_MAX:
        findings.refuse(name, _("At most %(limit)s datasets.") % {"limit": DATASETS_MAX})
    if len(set(ids)) != len(ids):
        findings.refuse(name, _("A dataset is chosen twice. Remove one of the two."))


def _fault(user: User, draft: JobDraft, dataset_id: int, dataset: Dataset | None) -> str:
    if dataset is None:
        text = _("There is no dataset %(id)s. Choose one of yours, or upload it.")
        return text % {"id": dataset_id}
    name = {"name": dataset.name}
    if not access.allowed(user, Action.DOWNLOAD, dataset):
        return _("Only the owner of %(name)s may train on it. Ask them to share it.") % name
    if dataset.state != DatasetState.READY:
        return _("%(name)s cannot be used. Correct its errors and upload it again.") % name
    if draft.command == Command.SFT and dataset.row_format == rows.TEXT:
        text = _(
            "%(name)s holds plain text, which fits Pre-training. Change the stage, or upload "
            "questions with answers."
        )
        return text % name
    return ""
