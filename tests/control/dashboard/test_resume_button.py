"""When the job's page offers to go on from a checkpoint, and what its history says of it."""

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
