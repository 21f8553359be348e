"""What a job may ask for if something goes wrong: by API, in a copy, on its page; and how long it may run."""

from datetime import timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.test import Client
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.instances.states import State
from loraforge.training.models import Job
from loraforge.training.overtime import runs_review
from loraforge.training.services import job_clone
from tests.control.conftest import ClientOf, error_of
from tests.factories.training import MODEL, JobFactory, OnlineNodeFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/jobs"
ASKED = {"oom_recovery": True, "on_node_lost": "restart", "max_run_s": 3600, "save_every_s": 120}


def post(client: Any, owner: User, **options: Any) -> Any:
    dataset = ReadyDatasetFactory.create(owner=owner)
    body = {"model": MODEL, "datasets": [dataset.pk], **options}
    return client.post(f"{ADDRESS}/", body)


def test_they_are_kept_shown_and_copied(alice: User, client_of: ClientOf) -> None:
    answer = post(client_of(alice), alice, **ASKED)
    assert answer.status_code == 201, answer.json()
    assert {name: answer.json()[name] for name in ASKED} == ASKED
    assert answer.json()["run_limit_s"] == 3600
    job = Job.objects.get(pk=answer.json()["id"])
    copy = job_clone(actor=alice, job=job)
    assert {name: getattr(copy, name) for name in ASKED} == ASKED


def test_nothing_asked_is_the_careful_default(alice: User, client_of: ClientOf) -> None:
    made = post(client_of(alice), alice).json()
    assert (made["oom_recovery"], made["on_node_lost"]) == (False, "wait")
    assert (made["max_run_s"], made["run_limit_s"], made["save_every_s"]) == (0, 0, None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_run_s", 59),
        ("max_run_s", 7201),
        ("max_run_s", -1),
        ("save_every_s", 5),
        ("on_node_lost", "explode"),
    ],
)
def test_what_may_not_be_is_refused_at_its_field(
    alice: User, client_of: ClientOf, settings: Any, field: str, value: Any
) -> None:
    settings.MAX_RUN_S = {"researcher": 7200}
    answer = post(client_of(alice), alice, **{field: value})
    assert answer.status_code == 400
    assert list(error_of(answer)["fields"]) == [field]
    job = JobFactory.create(owner=alice)
    answer = client_of(alice).patch(f"{ADDRESS}/{job.pk}/", {field: value})
    assert answer.status_code == 400
    assert list(error_of(answer)["fields"]) == [field]


def test_they_may_change_at_any_time_and_that_is_audited(
    alice: User, bob: User, client_of: ClientOf
) -> None:
    job = JobFactory.create(owner=alice, state=State.RUNNING)
    answer = client_of(alice).patch(f"{ADDRESS}/{job.pk}/", {**ASKED, "save_every_s": None})
    assert answer.status_code == 200, answer.json()
    assert answer.json()["on_node_lost"] == "restart"
    entry = LogEntry.objects.get(additional_data__what="training:options")
    assert entry.actor == alice
    assert entry.changes["max_run_s"] == [0, 3600]
    assert client_of(bob).patch(f"{ADDRESS}/{job.pk}/", ASKED).status_code == 404


def test_a_role_s_limit_holds_and_an_operator_may_give_more(
    alice: User, olga: User, client_of: ClientOf, settings: Any
) -> None:
    settings.MAX_RUN_S = {"researcher": 7200, "operator": 0}
    made = post(client_of(alice), alice).json()
    assert (made["max_run_s"], made["run_limit_s"]) == (0, 7200)
    more = client_of(olga).patch(f"{ADDRESS}/{made['id']}/", {"max_run_s": 86_400})
    assert (more.status_code, more.json()["run_limit_s"]) == (200, 86_400)


# -- how long it may run


def running(owner: User, *, since_s: float, limit_s: int, retries: int = 0) -> Job:
    job: Job = JobFactory.create(owner=owner, state=State.RUNNING, run_limit_s=limit_s)
    begun = timezone.now() - timedelta(seconds=since_s)
    Instance.objects.filter(pk=job.pk).update(
        attempt=retries + 1, retries=retries, started_at=begun
    )
    job.refresh_from_db()
    Attempt.objects.create(
        instance=job.instance, number=retries + 1, node=OnlineNodeFactory.create(), running_at=begun
    )
    return job


def test_a_job_over_its_time_is_stopped_and_saved_once(alice: User) -> None:
    over, within, free = (
        running(alice, since_s=100, limit_s=90),
        running(alice, since_s=100, limit_s=110),
        running(alice, since_s=100, limit_s=0),
    )
    assert runs_review() == 1
    assert runs_review() == 0
    states = {job.pk: Instance.objects.get(pk=job.pk).state for job in (over, within, free)}
    assert states == {over.pk: State.STOPPING, within.pk: State.RUNNING, free.pk: State.RUNNING}
    attempt = Attempt.objects.get(instance=over.pk)
    assert (attempt.stop_requested, attempt.stop_reason) == ("save", "user:run_time_exceeded")
    event = InstanceEvent.objects.get(instance=over.pk, target=State.STOPPING)
    assert (event.reason, event.actor) == ("user:run_time_exceeded", None)


def test_attempts_that_the_system_made_count_together(
    alice: User, django_assert_num_queries: Any
) -> None:
    job = running(alice, since_s=50, limit_s=90, retries=1)
    begun = timezone.now() - timedelta(seconds=500)
    Attempt.objects.create(
        instance=job.instance, number=1, node=OnlineNodeFactory.create(),
        running_at=begun, ended_at=begun + timedelta(seconds=30),
    )  # fmt: skip
    with django_assert_num_queries(2):
        assert runs_review() == 0
    Job.objects.filter(pk=job.pk).update(run_limit_s=80)
    assert runs_review() == 1


# -- on the pages


def test_the_form_and_the_page_show_them(alice: User, settings: Any) -> None:
    settings.MAX_RUN_S = {"researcher": 7200}
    client = Client()
    client.force_login(alice)
    form = client.get("/jobs/new/").content.decode()
    assert 'id="max-run"' in form
    assert 'placeholder="2"' in form, "hours of the role"
    job = JobFactory.create(
        owner=alice, state=State.RUNNING, run_limit_s=7200, on_node_lost="restart"
    )
    Instance.objects.filter(pk=job.pk).update(retries=2)
    page = client.get(f"/jobs/{job.pk}/?tab=settings").content.decode()
    for said in ("Retry 2 of 3", "Longest run", "2 h 0 min", "Restart on another node", "10 min"):
        assert said in page


def test_a_job_that_cannot_save_at_a_stop_says_so(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    job = JobFactory.create(
        owner=alice, state=State.RUNNING, command="rlhf", arguments={"rlhf_type": "ppo"}
    )
    assert "cannot save when it is stopped" in client.get(f"/jobs/{job.pk}/").content.decode()


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({}, "A batch of 1 cannot be halved"),
        ({"adjusted": {"per_device_train_batch_size": 2}}, "once more with half the batch"),
    ],
)
def test_a_failure_says_what_was_tried(alice: User, columns: dict[str, Any], said: str) -> None:
    client = Client()
    client.force_login(alice)
    job = JobFactory.create(owner=alice, state=State.FAILED, oom_recovery=True, **columns)
    Instance.objects.filter(pk=job.pk).update(failure_reason="user:gpu_out_of_memory")
    assert said in client.get(f"/jobs/{job.pk}/header/").content.decode()


def test_a_job_that_ran_too_long_is_explained(alice: User, client_of: ClientOf) -> None:
    client = Client()
    client.force_login(alice)
    job = JobFactory.create(owner=alice, state=State.STOPPED)
    Instance.objects.filter(pk=job.pk).update(
        failure_reason="user:run_time_exceeded", saved_step=40
    )
    html = client.get(f"/jobs/{job.pk}/header/").content.decode()
    assert "had run for as long as it may" in html
    assert "Stopped (saved at step 40)" in html
    failure = client_of(alice).get(f"{ADDRESS}/{job.pk}/").json()["failure"]
    assert failure == {"reason": "user:run_time_exceeded", "owner": "user", "retry": "no"}
