"""Jobs, and what they need: datasets, nodes with devices. Rows only; no service is called."""

from typing import Any

import factory
from factory.django import DjangoModelFactory

from loraforge.datasets.models import Dataset, DatasetState
from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.nodes.models import Device, DeviceKind, Node, NodeState
from loraforge.training.drafts import JobDraft
from loraforge.training.models import Command, Job, JobDataset
from tests.factories.accounts import UserFactory

MODEL = "Qwen/Qwen2.5-7B-Instruct"


class ReadyDatasetFactory(DjangoModelFactory):
    class Meta:
        model = Dataset

    owner = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda number: f"faq-{number}.jsonl")
    state = DatasetState.READY
    storage_name = factory.Sequence(lambda number: f"datasets/{number}")
    sha256 = factory.Sequence(lambda number: f"{number:064x}")
    rows = 10
    size_bytes = 1000
    row_format = "messages"
    traits = ("answer", "rejected", "label")


class OnlineNodeFactory(DjangoModelFactory):
    """A node that is heard, with as many devices as asked for (`gpus`, `cpu_slots`)."""

    class Meta:
        model = Node
        skip_postgeneration_save = True

    name = factory.Sequence(lambda number: f"node{number}")
    state = NodeState.ONLINE

    @factory.post_generation
    def gpus(self: Any, create: bool, extracted: int | None, **_kwargs: Any) -> None:
        for index in range(extracted or 0):
            Device.objects.create(
                node=self, uuid=f"GPU-{self.name}-{index}", kind=DeviceKind.GPU, index=index
            )

    @factory.post_generation
    def cpu_slots(self: Any, create: bool, extracted: int | None, **_kwargs: Any) -> None:
        for index in range(extracted or 0):
            Device.objects.create(node=self, uuid=f"cpu-{index}", kind=DeviceKind.CPU, index=index)


class JobInstanceFactory(DjangoModelFactory):
    class Meta:
        model = Instance

    owner = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda number: f"job {number}")
    state = State.DRAFT


class JobFactory(DjangoModelFactory):
    class Meta:
        model = Job

    class Params:
        owner = factory.SubFactory(UserFactory)
        state = State.DRAFT

    instance = factory.SubFactory(
        JobInstanceFactory,
        owner=factory.SelfAttribute("..owner"),
        state=factory.SelfAttribute("..state"),
    )
    command = Command.SFT
    model = MODEL
    model_hub = "modelscope"
    model_type = "qwen2"
    template = "qwen2_5"
    argv = factory.LazyFunction(lambda: ["-m", "swift.cli.sft", "--model", MODEL])
    catalogue_version = "4.6.0"


class JobDatasetFactory(DjangoModelFactory):
    class Meta:
        model = JobDataset

    job = factory.SubFactory(JobFactory)
    dataset = factory.SubFactory(ReadyDatasetFactory)
    sha256 = factory.SelfAttribute("dataset.sha256")


def draft_for(owner: Any, **changes: Any) -> JobDraft:
    """A draft that is right, with a dataset of the owner's."""
    if "datasets" not in changes:
        changes["datasets"] = (ReadyDatasetFactory.create(owner=owner).pk,)
    return JobDraft(**{"model": MODEL, "arguments": {"lora_rank": 8}, **changes})
