"""Commands as they lie in a node's queue."""

import base64
import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from django.utils import timezone

from loraforge.gateway import dispatch, starting
from loraforge.instances.models import Attempt
from loraforge.instances.services import instance_stop
from loraforge.instances.states import State
from nodeagent.contract.channels import COMMAND_TASK, command_queue
from nodeagent.contract.commands import Command, Start, Stop, command_load
from tests.control.gateway.conftest import state_of
from tests.factories.training import JobDatasetFactory, ReadyDatasetFactory

if TYPE_CHECKING:
    import redis

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def queue(client: "redis.Redis") -> list[Command]:
    found = []
    for raw in reversed(client.lrange(command_queue("n1"), 0, -1)):
        message = json.loads(raw)
        assert message["headers"]["task"] == COMMAND_TASK
        kwargs: Any = json.loads(base64.b64decode(message["body"]))[1]
        found.append(command_load(kwargs["command"]))
    return found


def test_start_says_everything_and_the_same_again(
    client: "redis.Redis", broker: str, attempt: Attempt
) -> None:
    job = attempt.instance.job
    dataset = ReadyDatasetFactory.create(owner=job.instance.owner, sha256="ab" * 32)
    JobDatasetFactory.create(job=job, dataset=dataset, sha256="ab" * 32)
    assert dispatch.start_send(instance_id=attempt.instance_id, attempt=1)
    assert dispatch.start_send(instance_id=attempt.instance_id, attempt=1)
    first, second = queue(client)
    assert isinstance(first, Start)
    assert isinstance(second, Start)
    assert first.id == second.id == f"start-{attempt.instance_id}-1"
    assert (first.spec_hash, first.argv) == (second.spec_hash, second.argv)
    assert first.devices == ["cpu-0"]
    assert first.argv[: len(job.argv)] == job.argv
    assert first.inputs[0].target == "/lf/inputs/train-0-abababababab.jsonl"
    assert first.inputs[0].sha256 == "ab" * 32
    assert first.inputs[0].url.startswith("/api/v1/agent/inputs/")
    attempt.refresh_from_db()
    assert attempt.spec_hash == first.spec_hash


def test_spec_hash_covers_what_runs_and_nothing_else(attempt: Attempt) -> None:
    start = dispatch.start_build(attempt)
    same = msgspec.structs.replace(start, id="other", issued_at=1.0)
    assert dispatch.spec_hash(same) == start.spec_hash
    for changed in (
        {"argv": ["x"]},
        {"devices": ["cpu-1"]},
        {"env": {"A": "1"}},
        {"image": "x"},
        {"processes": 2},
    ):
        assert dispatch.spec_hash(msgspec.structs.replace(start, **changed)) != start.spec_hash


def test_a_path_model_is_mounted(attempt: Attempt) -> None:
    job = attempt.instance.job
    job.model, job.model_hub = "/models/qwen", ""
    job.save()
    assert [(mount.path, mount.target) for mount in dispatch.start_build(attempt).mounts] == [
        ("/models/qwen", "/lf/model")
    ]


def test_a_start_that_is_not_wanted_any_more_is_not_sent(
    client: "redis.Redis", broker: str, attempt: Attempt
) -> None:
    instance_stop(actor=attempt.instance.owner, instance=attempt.instance)
    assert not dispatch.start_send(instance_id=attempt.instance_id, attempt=1)
    assert not dispatch.start_send(instance_id=attempt.instance_id, attempt=2)
    assert dispatch.stop_send(instance_id=attempt.instance_id, attempt=1, mode="save")
    (stop,) = queue(client)
    assert isinstance(stop, Stop)
    assert (stop.mode, stop.grace_s) == ("save", 30)


def test_a_start_that_can_never_be_made_fails_with_the_reason(
    broker: str, attempt: Attempt
) -> None:
    dataset = ReadyDatasetFactory.create(owner=attempt.instance.owner)
    JobDatasetFactory.create(job=attempt.instance.job, dataset=dataset)
    type(dataset).objects.filter(pk=dataset.pk).update(deleted_at=timezone.now(), storage_name="")
    assert not starting.attempt_start(instance_id=attempt.instance_id, attempt=1)
    instance = state_of(attempt)
    assert instance.state == State.FAILED
    assert instance.failure_reason == "training:dataset_gone"
