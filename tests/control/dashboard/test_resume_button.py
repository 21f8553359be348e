"""When the job's page offers to go on from a checkpoint, and what its history says of it."""

import json
import re
from typing import Any

import pytest
from django.test import Client

from loraforge.accounts.models import User
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.states import State
from loraforge.training.models import Job
from loraforge.training.resuming import job_resume
from tests.control.training.test_resuming import leave
from tests.factories.training import JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db

BUTTON = 'data-act="resume"'


@pytest.fixture
def job(alice: User) -> Job:
    node = OnlineNodeFactory.create(name="n1", gpus=1)
    job: Job = JobFactory.create(
        owner=alice, state=State.STOPPED, instance__attempt=1, instance__node=node
    )
    Attempt.objects.create(instance=job.instance, number=1, node=node)
    return job


def page(client: Client, job: Job, person: User, tab: str = "overview") -> str:
    client.force_login(person)
    return client.get(f"/jobs/{job.pk}/?tab={tab}").content.decode()


def test_resume_is_offered_where_there_is_something_to_go_on_from(
    client: Client, alice: User, job: Job
) -> None:
    assert BUTTON not in page(client, job, alice)
    leave(job.instance.attempts.get(), 20)
    assert BUTTON in page(client, job, alice)
    Instance.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert BUTTON not in page(client, job, alice)


def test_the_history_says_from_where_it_went_on(client: Client, alice: User, job: Job) -> None:
    leave(job.instance.attempts.get(), 20)
    job_resume(actor=alice, job=job)
    Attempt.objects.create(instance=job.instance, number=2, node=job.instance.attempts.get().node)
    assert "from step 20 of attempt 1" in page(client, job, alice, tab="history")


def form_of(client: Client, address: str) -> dict[str, Any]:
    html = client.get(address).content.decode()
    found = re.search(r'<script id="form-data" type="application/json">(.*?)</script>', html, re.S)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])["source"]
    return data


def test_a_new_job_with_the_change_that_the_failure_suggests(
    client: Client, alice: User, bob: User, job: Job
) -> None:
    Instance.objects.filter(pk=job.pk).update(
        state=State.FAILED, failure_reason="user:gpu_out_of_memory"
    )
    Job.objects.filter(pk=job.pk).update(arguments={"per_device_train_batch_size": 8})
    address = f"/jobs/new/?from={job.pk}&change=1"
    assert address.replace("&", "&amp;") in page(client, job, alice)
    source = form_of(client, address)
    assert source["arguments"] == {
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 4,
    }
    assert source["parent"] == job.pk
    assert form_of(client, f"/jobs/new/?from={job.pk}")["arguments"] == {
        "per_device_train_batch_size": 8
    }
    client.force_login(bob)
    assert client.get(address).status_code == 404


def test_a_new_job_from_the_weights(client: Client, alice: User, job: Job) -> None:
    Instance.objects.filter(pk=job.pk).update(state=State.SUCCEEDED)
    assert "&amp;weights=" not in page(client, job, alice)
    leave(job.instance.attempts.get(), 20, 40)
    assert f"/jobs/new/?from={job.pk}&amp;weights=1%3A40" in page(client, job, alice)
    source = form_of(client, f"/jobs/new/?from={job.pk}&weights=1:20")
    assert source["weights_from"] == f"{job.pk}:1:20"
