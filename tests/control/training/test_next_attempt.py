"""A next attempt begins with nothing done, and with datasets that the owner may still use."""

import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.accounts.sharing import share_grant, share_revoke
from loraforge.core.errors import Conflict
from loraforge.gateway.starting import attempt_start
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_assign
from loraforge.instances.states import State
from loraforge.training.models import Job, JobDataset
from loraforge.training.services import job_retry, job_start, job_withdraw
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory, OnlineNodeFactory, ReadyDatasetFactory

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


def test_a_share_that_was_taken_back_while_it_rested_or_waited(alice: User) -> None:
    owner = UserFactory.create()
    job = ended_job(alice, owner)
    dataset = job.job_datasets.get().dataset
    share_grant(actor=owner, row=dataset, codename="use_dataset", username=alice.username)
    Instance.objects.filter(pk=job.pk).update(attempt=1)
    job = Job.objects.get(pk=job.pk)
    withdrawn = job_withdraw(actor=alice, job=job_retry(actor=alice, job=job))
    waiting = job_start(actor=alice, job=withdrawn).instance
    share_revoke(actor=owner, row=dataset, codename="use_dataset", username=alice.username)
    attempt = instance_assign(instance=waiting, node=OnlineNodeFactory.create(), devices=["cpu-0"])
    assert not attempt_start(instance_id=job.pk, attempt=attempt.number)
    row = Instance.objects.get(pk=job.pk)
    assert (row.state, row.failure_reason) == (State.FAILED, "training:dataset_gone")
    Instance.objects.filter(pk=job.pk).update(state=State.DRAFT)
    with pytest.raises(Conflict) as caught:
        job_start(actor=alice, job=Job.objects.get(pk=job.pk))
    assert caught.value.error_id == "training:dataset_gone"


def test_a_deleted_dataset_is_noticed(alice: User) -> None:
    job = ended_job(alice, alice)
    row = job.job_datasets.get()
    row.dataset.deleted_at = timezone.now()
    row.dataset.save()
    with pytest.raises(Conflict):
        job_retry(actor=alice, job=job)
