"""A pasted command or configuration file, as a draft of one user's: names of datasets become rows of theirs."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from django.db.models import Q
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.datasets.models import Dataset
from loraforge.datasets.selectors import dataset_list
from loraforge.swift.forms.modules import module_of
from loraforge.swift.forms.pasting import OWN_TEXTS, Pasted, text_parse
from loraforge.training.findings import Findings

# Fields of a draft themselves; every other is an argument's.
OWN_FIELDS = frozenset(
    {"text", "environment", "command", *OWN_TEXTS, "ref_model", "teacher_model", "reward_models"}
)
FILE_ENDINGS = (".jsonl", ".json", ".csv", ".parquet", ".txt", ".gz")


@dataclass(frozen=True, kw_only=True)
class PastedDraft:
    """What a text says, with the user's own datasets found.

    module: id of the form's module. datasets, validation_datasets: ids. remote_datasets,
    remote_validation_datasets: ids of a model hub that the user has no row of yet.
    """

    pasted: Pasted
    module: str
    datasets: list[int]
    validation_datasets: list[int]
    remote_datasets: list[str]
    remote_validation_datasets: list[str]
    findings: Findings


def pasted_read(*, user: User, text: str, command: str) -> PastedDraft:
    """Read what was pasted. Raises nothing for what stands in it.

    command: whose arguments they are, where the text does not say.
    """
    pasted = text_parse(text, command=command)
    findings = Findings()
    findings.add_swift(pasted.problems, overridden=OWN_FIELDS)
    known = _datasets_named(user, [*pasted.datasets, *pasted.validation_datasets])
    training, remote = _found(pasted.datasets, known, "datasets", findings)
    validation, remote_validation = _found(
        pasted.validation_datasets, known, "validation_datasets", findings
    )
    module = module_of(pasted.command, pasted.arguments)
    return PastedDraft(
        pasted=pasted,
        module=module.id if module else "",
        datasets=training,
        validation_datasets=validation,
        remote_datasets=remote,
        remote_validation_datasets=remote_validation,
        findings=findings,
    )


def _plain_name(named: str) -> str:
    """The file's name of a path, without the number of rows that SWIFT reads behind a #."""
    place = named.split("#", 1)[0]
    return PurePosixPath(place).name if _is_file(place) else named


def _is_file(named: str) -> bool:
    place = named.split("#", 1)[0]
    return place.startswith(("/", ".", "~", "\\")) or place.endswith(FILE_ENDINGS)


def _datasets_named(user: User, named: Iterable[str]) -> dict[str, int]:
    """Name or remote id -> the newest dataset of it that the user may train on."""
    wanted = {*named, *map(_plain_name, named)}
    own = access.visible(user, dataset_list(user=user), action=Action.DOWNLOAD)
    rows = own.filter(Q(name__in=wanted) | Q(remote_id__in=wanted))
    found: dict[str, int] = {}
    for row in rows[:200]:
        key = row.remote_id if row.kind == Dataset.Kind.REMOTE else row.name
        found.setdefault(key, row.pk)
    return found


def _found(
    named: Iterable[str], known: dict[str, int], field: str, findings: Findings
) -> tuple[list[int], list[str]]:
    """Ids of those that are there, and the remote ones that are not yet; a file that is not there is told."""
    ids: list[int] = []
    remote: list[str] = []
    for one in named:
        row = known.get(one) or known.get(_plain_name(one))
        if row is not None and row not in ids:
            ids.append(row)
        elif row is None and _is_file(one):
            text = _("You have no dataset called %(name)s. Upload the file, then choose it.")
            findings.refuse(field, text % {"name": _plain_name(one)})
        elif row is None:
            remote.append(one)
    return ids, remote
