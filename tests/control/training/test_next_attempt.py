"""A next attempt begins with nothing done, and with datasets that the owner may still use."""

import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.core.errors import Conflict
from loraforge.instances.states import State
from loraforge.training.models import Job, JobDataset
from loraforge.training.services import job_retry
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db


def ended_job(owner: User, dataset_owner: User) -> Job:
    job: Job = JobFactory.create(owner=owner, state=State.STOPPED)
    job.job_datasets.all().delete()
    dataset = ReadyDatasetFactory.create(owner=dataset_owner)
    JobDataset.objects.create(job=job, dataset=dataset, sha256=dataset.sha256)
    return job


def test_nothing_of_the_last_attempt_is_shown_as_the_next_one_s(alice: User) -> None:
    job = ended_job(alice, alice)
    row = job.instance
    row.step, row.max_steps, row.loss, row.eta_s, row.saved_step = 40, 50, 1.5, 9, 40
    row.started_at = row.ended_at = timezone.now()
    row.exit_code, row.failure_reason = 1, "user:x"
    row.save()
    again = job_retry(actor=alice, job=job).instance
    assert (again.step, again.max_steps, again.progress) == (0, 0, 0)
    assert (again.loss, again.eta_s, again.saved_step, again.exit_code) == (None, None, None, None)
    assert (again.started_at, again.ended_at, again.failure_reason) == (None, None, "")


def test_a_share_that_was_taken_back_is_noticed(alice: User) -> None:
    job = ended_job(alice, UserFactory.create())
    with pytest.raises(Conflict) as caught:
        job_retry(actor=alice, job=job)
    assert caught.value.error_id == "training:dataset_gone"
    job.instance.refresh_from_db()
    assert job.instance.state == State.STOPPED


def test_a_deleted_dataset_is_noticed(alice: User) -> None:
    job = ended_job(alice, alice)
    row = job.job_datasets.get()
    row.dataset.deleted_at = timezone.now()
    row.dataset.save()
    with pytest.raises(Conflict):
        job_retry(actor=alice, job=job)
