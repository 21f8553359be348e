"""Datasets and uploads, with bytes where they belong."""

import hashlib
import json
from datetime import timedelta
from typing import Any

import factory
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from factory.django import DjangoModelFactory

from loraforge.datasets import spool
from loraforge.datasets.models import Dataset, DatasetState, Upload
from tests.factories.accounts import UserFactory

ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def jsonl(count: int, *, padding: int = 0) -> bytes:
    """Good rows, each different."""
    rows = (
        {
            "messages": [
                {"role": "user", "content": f"{number}"},
                {"role": "assistant", "content": "a" * padding},
            ]
        }
        for number in range(count)
    )
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


class DatasetFactory(DjangoModelFactory):
    """An uploaded dataset; ``content`` lies in the storage."""

    class Meta:
        model = Dataset
        exclude = ("content",)

    content = jsonl(3)
    owner = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda number: f"set {number}")
    state = DatasetState.READY
    row_format = "messages"
    traits = factory.LazyFunction(lambda: ["answer"])
    rows = factory.LazyAttribute(lambda made: made.content.count(b"\n"))
    size_bytes = factory.LazyAttribute(lambda made: len(made.content))
    sha256 = factory.LazyAttribute(lambda made: hashlib.sha256(made.content).hexdigest())
    storage_name = factory.LazyAttribute(
        lambda made: default_storage.save("datasets/test.jsonl", ContentFile(made.content))
    )


class UploadFactory(DjangoModelFactory):
    """An upload whose first ``offset_bytes`` bytes lie in the spool."""

    class Meta:
        model = Upload
        skip_postgeneration_save = True

    owner = factory.SubFactory(UserFactory)
    filename = "rows.jsonl"
    size_bytes = 10
    expires_at = factory.LazyFunction(lambda: timezone.now() + timedelta(hours=1))

    @factory.post_generation
    def content(self: Any, create: bool, extracted: bytes | None, **_kwargs: Any) -> None:
        spool.spool_create(self.pk)
        spool.spool_path(self.pk).write_bytes((extracted or b"")[: self.offset_bytes])
