"""Writes of datasets."""

import re

from auditlog.context import set_actor
from django.conf import settings
from django.core import signing
from django.core.files.storage import default_storage
from django.db import transaction
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core import events
from loraforge.core.errors import Conflict, Invalid
from loraforge.datasets.columns import fault_of as columns_fault
from loraforge.datasets.models import Dataset, DatasetState, Upload
from loraforge.datasets.selectors import INPUT_SALT, require_bytes
from loraforge.nodes.models import Node

# SWIFT's own spelling (swift/dataset/loader.py): [HF::|MS::]org/name[:subset[/subset]][#rows]
_REMOTE_ID = re.compile(
    r"(?:(?:HF|MS)::)?"
    r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}"
    r"(?::[\w.-]{1,60}(?:/[\w.-]{1,60}){0,9})?"
    r"(?:#[1-9][0-9]{0,11})?",
    re.ASCII,
)


def dataset_create_remote(*, actor: User, remote_id: str, name: str = "") -> Dataset:
    """Name a dataset of a model hub. Whether it exists there, the job finds out. Raises Invalid."""
    access.require(actor, Action.CREATE)
    remote_id = remote_id.strip()
    if len(remote_id) > 200 or not _REMOTE_ID.fullmatch(remote_id):  # noqa: PLR2004 - the column
        text = _(
            "Write a dataset as org/name, for instance AI-ModelScope/alpaca-gpt4-data-zh, with HF:: or "
            "MS:: before it to choose the hub, :subset behind it, and #500 to take only 500 rows."
        )
        raise Invalid("datasets:bad_remote_id", text, fields={"remote_id": [text]})
    return Dataset.objects.create(
        owner=actor,
        name=(name.strip() or remote_id)[:200],
        kind=Dataset.Kind.REMOTE,
        state=DatasetState.READY,
        remote_id=remote_id,
    )


_COLUMN_FAULTS = {
    "unknown": gettext_noop("The dataset has no column %(name)s."),
    "target": gettext_noop("SWIFT knows no column %(name)s. Choose one of the list."),
    "twice": gettext_noop("Two columns would become %(name)s. Choose another one for one of them."),
}


def dataset_columns_set(*, actor: User, dataset: Dataset, columns: dict[str, str]) -> Upload:
    """Say which column is what, and have the rows checked anew under these names.

    The upload tells how far that is. Raises NotFound, Denied, Invalid, Gone, Conflict (while it is being
    checked).
    """
    access.require(actor, Action.CHANGE, dataset)
    require_bytes(dataset)
    if dataset.kind != Dataset.Kind.UPLOADED or not dataset.sha256:
        text = _("Its rows were never read, so it has no columns. Upload the file again.")
        raise Invalid("datasets:no_columns", text, fields={"columns": [text]})
    kind, name = columns_fault(columns, dataset.column_names)
    if kind:
        text = _(_COLUMN_FAULTS[kind]) % {"name": name}
        raise Invalid("datasets:bad_columns", text, fields={"columns": [text]})
    with set_actor(actor), transaction.atomic():
        locked = Dataset.objects.select_for_update().get(pk=dataset.pk)
        require_bytes(locked)
        if locked.rechecks.filter(dataset=None).exists():
            text = _("The rows are being checked already. Wait until that is done.")
            raise Conflict("datasets:checking", text)
        return Upload.objects.create(
            owner=actor,
            filename=f"{dataset.name}.jsonl"[-255:],
            size_bytes=dataset.size_bytes,
            offset_bytes=dataset.size_bytes,
            columns=columns,
            recheck_of=locked,
            expires_at=timezone.now() + settings.UPLOAD_EXPIRES,
        )


def dataset_delete(*, actor: User, dataset: Dataset) -> None:
    """Delete a dataset and its bytes. Raises Conflict while a job that has not ended uses it.

    Apps above that use datasets subscribe to events.DATASET_DELETING and refuse there.
    """
    access.require(actor, Action.CHANGE, dataset)
    with transaction.atomic():
        locked = Dataset.objects.select_for_update().get(pk=dataset.pk)
        events.emit(events.DATASET_DELETING, dataset=locked)
        locked.preview = []
        locked.deleted_at = timezone.now()
        locked.save(update_fields=["preview", "deleted_at"])
        transaction.on_commit(lambda: dataset_bytes_remove(dataset=locked))


def dataset_bytes_remove(*, dataset: Dataset) -> None:
    """Remove the bytes of a deleted dataset; the emptied storage_name says that it is done."""
    for name in (dataset.storage_name, dataset.index_name):
        if name:
            default_storage.delete(name)
    Dataset.objects.filter(pk=dataset.pk).update(storage_name="", index_name="")


def datasets_sweep() -> int:
    """Remove bytes that a crash left behind after their dataset was deleted; how many there were."""
    left = list(Dataset.objects.exclude(deleted_at=None).exclude(storage_name="")[:200])
    for dataset in left:
        dataset_bytes_remove(dataset=dataset)
    return len(left)


def input_url(*, dataset: Dataset, node: Node) -> str:
    """The relative address at which this node, and no other, fetches the dataset for a day."""
    require_bytes(dataset)
    claims = {"node": node.name, "dataset": dataset.pk, "sha256": dataset.sha256}
    signed = signing.dumps(claims, salt=INPUT_SALT)
    return reverse("api:agent-input", kwargs={"signed": signed})
