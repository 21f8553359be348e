"""Every page of the admin with real rows: readable, linked, in a constant number of queries."""

import re
from datetime import timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from axes.models import AccessAttempt
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from loraforge.accounts.models import ApiToken, User
from loraforge.accounts.services import secret_put
from loraforge.artifacts.models import (
    BestCheckpoint,
    FileLease,
    OutputFile,
    Removal,
    RemovalNotice,
    ResultCopy,
    ResultSaving,
)
from loraforge.billing.models import (
    Budget,
    BudgetNotice,
    LedgerLine,
    LedgerShare,
    Metering,
    Price,
)
from loraforge.core import audit
from loraforge.core.models import OutboxMessage, Setting
from loraforge.datasets.models import Dataset, Upload
from loraforge.gateway.models import DeadLetter, JournalPosition
from loraforge.instances.models import Attempt, DeviceLease, Instance
from loraforge.instances.states import State
from loraforge.migration.models import Drain, Migration, Prefetch
from loraforge.nodes.models import Node
from loraforge.notifications.models import Notification
from loraforge.recipes.models import UnsentForm
from loraforge.scheduling.models import Reservation, RunCap
from loraforge.telemetry.models import (
    LogChunk,
    LogGap,
    MetricRow,
    Sample,
    StreamPosition,
    TrainerEvent,
)
from loraforge.training.models import IdempotencyKey, Job
from tests.factories.accounts import ApiTokenFactory, UserFactory
from tests.factories.recipes import RecipeFactory
from tests.factories.training import JobDatasetFactory, JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db

MODELS = list(admin.site._registry)
HOSTILE = "<script>alert(1)</script>"


def address(model: Any, what: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}", args=args)


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def fill(count: int) -> Job:
    """``count`` more of everything that the admin lists; gives the last job."""
    job: Job
    for _ in range(count):
        owner = UserFactory.create()
        node = OnlineNodeFactory.create(gpus=2)
        job = JobFactory.create(
            owner=owner, state=State.RUNNING, instance__attempt=1, instance__node=node,
            instance__name=HOSTILE,
        )  # fmt: skip
        JobDatasetFactory.create(job=job, dataset__owner=owner)
        instance = job.instance
        attempt = instance.attempts.create(number=1, node=node, devices=["GPU-1"])
        instance.events.create(source="draft", target="queued", actor=owner)
        DeviceLease.objects.create(node=node, device_uuid="GPU-1", attempt=attempt)
        file = OutputFile.objects.create(
            attempt=attempt, path=HOSTILE, size_bytes=1, sha256="0" * 64
        )
        ResultCopy.objects.create(file=file, storage_name=HOSTILE)
        moment = {"wanted_at": timezone.now(), "next_at": timezone.now()}
        ResultSaving.objects.create(instance=instance, trouble="node_away", **moment)
        Upload.objects.create(
            owner=owner, filename="f", size_bytes=1, expires_at=timezone.now() + timedelta(hours=1)
        )
        ApiTokenFactory.create(owner=owner)
        secret_put(actor=owner, kind="wandb", value="<b>a-secret")
        JournalPosition.objects.create(node=node, seq=5)
        DeadLetter.objects.create(node=node.name, entry_id="1-0", raw=b"\x00<b>\xff", error="bad")
        OutboxMessage.objects.create(kind="task", target="a.b", payload={"text": HOSTILE})
        AccessAttempt.objects.create(
            username=owner.username, ip_address="10.0.0.1", failures_since_start=8
        )
        audit.record(
            actor=owner, target=instance, what="instances:queue", changes={"state": ["a", "b"]}
        )
        fill_arrived(attempt)
        RecipeFactory.create(owner=owner, name=HOSTILE)
        UnsentForm.objects.create(owner=owner, source=HOSTILE, draft={"model": HOSTILE})
        RunCap.objects.create(scope="user", user=owner, limit=1, notes=HOSTILE)
        Reservation.objects.create(
            node=node, user=owner, starts_at=timezone.now(), reason=HOSTILE,
            ends_at=timezone.now() + timedelta(hours=1),
        )  # fmt: skip
        BestCheckpoint.objects.create(attempt=attempt, step=6, metric=0.5)
        now = timezone.now()
        Removal.objects.create(attempt=attempt, begun_at=now)
        RemovalNotice.objects.create(instance=instance, ended_at=now, told_at=now)
        FileLease.objects.create(instance=instance, holder=HOSTILE, expires_at=now)
        Notification.objects.create(
            user=owner, instance=instance, what="running", values={"name": HOSTILE}
        )
        IdempotencyKey.objects.create(owner=owner, key=HOSTILE, request_hash="0" * 64, job=job)
        Setting.objects.create(name=f"fact-{job.pk}", value=HOSTILE)
        fill_costs(attempt)
        drain = Drain.objects.create(node=node, mode="wait", actor=owner)
        Migration.objects.create(
            instance=instance, step_at=now, source=node, target=node, source_attempt=1, drain=drain,
            error_detail=HOSTILE,
        )  # fmt: skip
        Prefetch.objects.create(
            node=node, hub="huggingface", repo="org/m", state="failed", detail=HOSTILE
        )
    return job


def fill_costs(attempt: Attempt) -> None:
    """What billing keeps."""
    owner, now = attempt.instance.owner, timezone.now()
    group = Group.objects.create(name=f"{HOSTILE}{attempt.pk}")
    price = Price.objects.create(
        gpu_model=f"{HOSTILE}{attempt.pk}", per_hour=1, currency="CNY", first_day=now.date()
    )
    line = LedgerLine.objects.create(
        attempt=attempt, owner=owner, month="2026-11", node_name=HOSTILE, gpu_model=HOSTILE,
        began=now - timedelta(hours=1), ended=now, gpus=1, gpu_seconds=3600, per_hour=1, amount=1,
        currency="CNY", note=HOSTILE,
    )  # fmt: skip
    LedgerShare.objects.create(line=line, group=group)
    Metering.objects.create(attempt=attempt, final=True)
    people: list[dict[str, Any]] = [{"user": owner}, {"group": group}]
    for of in people:
        budget = Budget.objects.create(**of, money=price.per_hour)
        BudgetNotice.objects.create(budget=budget, month="2026-11", level="full")


def fill_arrived(attempt: Attempt) -> None:
    """What ingest stores of one attempt."""
    StreamPosition.objects.create(attempt=attempt, stream="log", end=9)
    LogChunk.objects.create(attempt=attempt, start=0, end=9, newlines=1, data=HOSTILE.encode())
    LogGap.objects.create(attempt=attempt, start=9, end=19, lines=2)
    span = {"attempt": attempt, "start": 0, "end": 9}
    MetricRow.objects.create(**span, step=1, values={"loss": HOSTILE})
    TrainerEvent.objects.create(**span, name="saved", values={"path": HOSTILE})
    Sample.objects.create(node=attempt.node, at=timezone.now(), values={"jobs": [HOSTILE]})


def queries_of(browser: Client, target: str) -> int:
    browser.get(target)
    with CaptureQueriesContext(connection) as queries:
        assert browser.get(target).status_code == 200
    return len(queries)


@pytest.mark.timeout(300)
def test_each_list_takes_as_many_queries_for_many_rows_as_for_few() -> None:
    browser = browser_of(UserFactory.create(operator=True))

    def queries() -> dict[str, int]:
        return {
            model._meta.label: queries_of(browser, address(model, "changelist")) for model in MODELS
        }

    fill(2)
    few = queries()
    fill(6)
    assert queries() == few


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_lists_can_be_searched_and_filtered_and_rows_read(model: Any) -> None:
    browser = browser_of(UserFactory.create(operator=True))
    fill(1)
    page = admin.site._registry[model]
    assert page.list_filter or model in {JournalPosition, Setting, Group}
    for word in ("1", "zebra", "' \" \\ %", "9" * 30):
        assert browser.get(address(model, "changelist"), {"q": word}).status_code == 200
    row = model._default_manager.order_by("-pk").first()
    answer = browser.get(address(model, "change", row.pk))
    assert answer.status_code == 200
    assert HOSTILE not in answer.content.decode()
    text = answer.content.decode()
    for link in set(re.findall(r'href="(/admin/[^"]+/\?[^"]+)"', text)):
        assert browser.get(link.replace("&amp;", "&")).status_code == 200, link


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model._meta.label)
def test_a_date_hierarchy_opens(model: Any) -> None:
    browser = browser_of(UserFactory.create(operator=True))
    fill(1)
    field = admin.site._registry[model].date_hierarchy
    if field is not None:
        year = {f"{field}__year": timezone.now().year}
        assert browser.get(address(model, "changelist"), year).status_code == 200


# Forms of people's rows and the one row that an operator clears away; the rest only services write.
CHANGED = {User, Group, Price, Budget, RunCap}
DELETED = {DeadLetter, Price, Budget, RunCap}


def test_what_only_services_write_can_be_neither_changed_nor_deleted() -> None:
    browser = browser_of(UserFactory.create(admin=True))
    fill(1)
    for model in MODELS:
        row = model._default_manager.order_by("-pk")[0]
        answers = [
            browser.post(address(model, what, row.pk), {"post": "yes"}).status_code
            for what in ("change", "delete")
        ]
        wanted = [200 if model in CHANGED else 403, 302 if model in DELETED else 403]
        assert answers == wanted, model._meta.label


def links_of(browser: Client, row: Any) -> str:
    return browser.get(address(type(row), "change", row.pk)).content.decode()


def test_one_thing_leads_to_the_next() -> None:
    browser = browser_of(UserFactory.create(operator=True))
    job = fill(1)
    instance, attempt = job.instance, Attempt.objects.get()
    page = links_of(browser, instance)
    rows: list[Any] = [instance.owner, instance.node, job, attempt]
    for row in rows:
        assert address(type(row), "change", row.pk) in page
    assert address(Instance, "change", instance.pk) in links_of(browser, job)
    dataset = Dataset.objects.get()
    assert address(Dataset, "change", dataset.pk) in links_of(browser, job)
    jobs_of_dataset = f"{address(Job, 'changelist')}?job_datasets__dataset__id__exact={dataset.pk}"
    assert jobs_of_dataset in links_of(browser, dataset)
    node = Node.objects.get()
    assert f"{address(Instance, 'changelist')}?node__id__exact={node.pk}" in links_of(browser, node)
    entry = LogEntry.objects.filter(additional_data__what="instances:queue").get()
    page = links_of(browser, entry)
    assert address(User, "change", instance.owner_id) in page
    assert address(Instance, "change", instance.pk) in page


def test_a_link_shows_what_belongs_to_the_row_only() -> None:
    browser = browser_of(UserFactory.create(operator=True))
    fill(1)
    job = fill(1)
    filters = {"node__id__exact": str(job.instance.node_id)}
    listed = browser.get(address(Instance, "changelist"), filters)
    assert [row.pk for row in listed.context["cl"].result_list] == [job.pk]
    log = {"content_type__model__exact": "instance", "object_pk__exact": job.pk}
    listed = browser.get(address(LogEntry, "changelist"), log)
    found = listed.context["cl"].result_list
    assert found
    assert {(row.content_type.model, row.object_pk) for row in found} == {("instance", str(job.pk))}


def test_the_bytes_of_a_dead_letter_are_shown_as_text() -> None:
    browser = browser_of(UserFactory.create(operator=True))
    fill(1)
    letter = DeadLetter.objects.get()
    page = links_of(browser, letter)
    assert "00 3c 62 3e ff" in page
    assert ".&lt;b&gt;." in page
    DeadLetter.objects.update(raw=b"x" * 1_000_000)
    assert len(links_of(browser, letter)) < 100_000


def test_secrets_are_on_no_page() -> None:
    browser = browser_of(UserFactory.create(admin=True))
    job = fill(1)
    Node.objects.update(token_digest="digest-of-node")
    ApiToken.objects.update(digest="digest-of-token")
    Dataset.objects.update(preview=[{"messages": "rows of the owner"}])
    Job.objects.update(env={"HF_TOKEN": "token-of-hub"})
    rows = (Node.objects.get(), ApiToken.objects.get(), Dataset.objects.get(), job)
    for row in rows:
        page = links_of(browser, row)
        for secret in ("digest-of", "rows of the owner", "token-of-hub"):
            assert secret not in page
    names = {model._meta.label for model in MODELS}
    assert not names & {"token_blacklist.OutstandingToken", "otp_totp.TOTPDevice"}


def act(browser: Client, model: Any, action: str, *rows: Any) -> Any:
    form = {"action": action, "_selected_action": [row.pk for row in rows]}
    return browser.post(address(model, "changelist"), form, follow=True)


@pytest.mark.parametrize(("model", "action"), [(Job, "stop_save"), (Instance, "stop_now")])
def test_operators_stop_what_runs_and_are_told_of_what_does_not(model: Any, action: str) -> None:
    operator = UserFactory.create(operator=True)
    running = fill(1)
    done = JobFactory.create(state=State.SUCCEEDED)
    page = act(browser_of(operator), model, action, running, done).content.decode()
    running.instance.refresh_from_db()
    done.instance.refresh_from_db()
    assert (running.instance.state, done.instance.state) == (State.STOPPING, State.SUCCEEDED)
    assert f"#{done.pk}" in page
    entry = LogEntry.objects.filter(additional_data__what__startswith="instances:stop").get()
    assert (entry.actor, entry.object_id) == (operator, running.pk)


def test_a_failed_job_is_queued_again() -> None:
    job = JobFactory.create(state=State.FAILED)
    act(browser_of(UserFactory.create(operator=True)), Job, "run_again", job)
    job.instance.refresh_from_db()
    assert job.instance.state == State.QUEUED


def test_an_instance_of_an_unreachable_node_is_given_up() -> None:
    job = fill(1)
    Instance.objects.update(state=State.UNKNOWN)
    act(browser_of(UserFactory.create(operator=True)), Instance, "give_up", job.instance)
    job.instance.refresh_from_db()
    assert job.instance.state == State.LOST


def test_nodes_are_cordoned_and_brought_back() -> None:
    operator = UserFactory.create(operator=True)
    node = OnlineNodeFactory.create()
    for action, cordoned in (("cordon", True), ("uncordon", False)):
        act(browser_of(operator), Node, action, node)
        node.refresh_from_db()
        assert node.cordoned is cordoned
        entry = LogEntry.objects.filter(additional_data__what=f"nodes:{action}").get()
        assert entry.actor == operator


def test_people_and_tokens_are_managed_by_administrators_only() -> None:
    administrator, operator = UserFactory.create(admin=True), UserFactory.create(operator=True)
    person = UserFactory.create()
    token = ApiTokenFactory.create(owner=person)
    act(browser_of(operator), User, "disable", person)
    act(browser_of(operator), ApiToken, "revoke", token)
    person.refresh_from_db()
    assert person.is_active
    assert ApiToken.objects.exists()
    act(browser_of(administrator), User, "disable", person)
    act(browser_of(administrator), ApiToken, "revoke", token)
    person.refresh_from_db()
    assert not person.is_active
    assert not ApiToken.objects.exists()
    acts = LogEntry.objects.filter(object_pk=person.pk, content_type__model="user")
    assert acts.filter(actor=administrator, changes__is_active=["True", "False"]).exists()
    act(browser_of(administrator), User, "enable", person)
    person.refresh_from_db()
    assert person.is_active


def test_an_administrator_does_not_lock_themselves_out() -> None:
    administrator = UserFactory.create(admin=True)
    browser = browser_of(administrator)
    act(browser, User, "disable", administrator)
    for form in ({"role": "viewer", "is_active": "on"}, {"role": "admin"}):
        given = {"username": administrator.username, "language": "", **form}
        answer = browser.post(address(User, "change", administrator.pk), given)
        assert answer.status_code == 200
        assert "Ask another administrator" in answer.content.decode()
    administrator.refresh_from_db()
    assert (administrator.role, administrator.is_active) == ("admin", True)


def test_a_lock_after_wrong_passwords_is_lifted_by_administrators() -> None:
    fill(1)
    attempt = AccessAttempt.objects.get()
    act(browser_of(UserFactory.create(operator=True)), AccessAttempt, "unlock", attempt)
    assert AccessAttempt.objects.exists()
    act(browser_of(UserFactory.create(admin=True)), AccessAttempt, "unlock", attempt)
    assert not AccessAttempt.objects.exists()


def test_a_dead_letter_is_dealt_with_by_deleting_it() -> None:
    fill(1)
    letter = DeadLetter.objects.get()
    browser = browser_of(UserFactory.create(operator=True))
    assert (
        browser.post(address(DeadLetter, "delete", letter.pk), {"post": "yes"}).status_code == 302
    )
    assert not DeadLetter.objects.exists()


def test_the_sign_in_is_our_own() -> None:
    stranger = Client().get("/admin/training/job/", follow=True)
    assert stranger.redirect_chain[-1][0].startswith("/login/?next=/admin/training/job/")
    refused = browser_of(UserFactory.create()).get("/admin/", follow=True)
    assert refused.status_code == 403
    operator = browser_of(UserFactory.create(operator=True))
    assert operator.post("/admin/logout/")["Location"] == "/login/"


def test_the_sidebar_leads_everywhere() -> None:
    browser = browser_of(UserFactory.create(operator=True))
    groups = browser.get("/admin/").context["sidebar_navigation"]
    titles = [str(group["title"]) for group in groups]
    assert titles == ["People", "Work", "Machines", "Costs", "What arrived", "Platform", "Audit"]
    items = [item for group in groups for item in group["items"]]
    listed = {address(model, "changelist") for model in MODELS}
    assert listed <= {item["link"] for item in items}
    for item in items:
        assert browser.get(item["link"]).status_code in {200, 503}
