"""The audit log: who did what, for those who may know, and for ever."""

from collections.abc import Callable
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.test import Client
from rest_framework.test import APIClient

from loraforge.accounts.models import User
from loraforge.accounts.services import token_create
from tests.control.conftest import ClientOf
from tests.factories.accounts import PASSWORD, UserFactory
from tests.factories.training import JobFactory, OnlineNodeFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db


def test_operators_read_and_filter(alice: User, olga: User, client_of: ClientOf) -> None:
    job = JobFactory.create(owner=alice)
    browser = Client()
    browser.force_login(alice)
    changed = browser.patch(
        f"/api/v1/jobs/{job.pk}/", {"name": "renamed"}, content_type="application/json"
    )
    assert changed.status_code == 200
    address = f"/api/v1/audit/?actor=alice&object_type=instances.instance&object_id={job.pk}"
    found = client_of(olga).get(address).json()
    assert found["count"] == 1
    entry = found["results"][0]
    assert entry["changes"]["name"] == [job.instance.name, "renamed"]
    assert (entry["actor"], entry["what"], entry["verb"]) == ("alice", "instances:update", "update")
    assert entry["object_type"] == "instances.instance"
    assert client_of(olga).get("/api/v1/audit/?actor=nobody").json()["count"] == 0
    assert client_of(olga).get("/api/v1/audit/?before=2001-01-01T00:00:00Z").json()["count"] == 0
    assert client_of(olga).get("/api/v1/audit/?after=yesterday").status_code == 400


@pytest.mark.parametrize("method", ["post", "put", "patch", "delete"])
def test_nobody_writes_it_through_the_api(method: str, client_of: ClientOf) -> None:
    admin = UserFactory.create(admin=True)
    answer = getattr(client_of(admin), method)("/api/v1/audit/", {})
    assert answer.status_code == 405


def test_not_even_a_superuser_changes_it_in_the_admin(alice: User) -> None:
    root = UserFactory.create(is_staff=True, is_superuser=True, role="admin")
    JobFactory.create(owner=alice)
    entry = LogEntry.objects.first()
    assert entry is not None
    browser = Client()
    browser.force_login(root)
    address = f"/admin/auditlog/logentry/{entry.pk}/"
    assert browser.get(f"{address}change/").status_code == 200
    assert browser.post(f"{address}change/", {"object_repr": "x"}).status_code == 403
    assert browser.post(f"{address}delete/", {"post": "yes"}).status_code == 403
    assert browser.get("/admin/auditlog/logentry/add/").status_code == 403
    assert LogEntry.objects.filter(pk=entry.pk).exists()


@pytest.mark.parametrize(
    ("moment", "status"),
    [
        ("0012-01-31T00:01:00-19:06", 200),  # an offset that PostgreSQL refuses
        ("2001-01-01T00:00:00%2B23:59", 200),
        ("0001-01-01T00:00:00%2B05:00", 400),  # before the calendar begins
        ("9999-12-31T23:59:59-05:00", 400),
    ],
)
def test_odd_moments_are_moments_or_told(
    olga: User, client_of: ClientOf, moment: str, status: int
) -> None:
    for name in ("after", "before"):
        assert client_of(olga).get(f"/api/v1/audit/?{name}={moment}").status_code == status


def with_session(user: User) -> APIClient:
    client = APIClient()
    client.force_login(user)
    return client


def with_jwt(user: User) -> APIClient:
    client = APIClient()
    body = {"username": user.username, "password": PASSWORD}
    access = client.post("/api/v1/auth/token/", body).json()["access"]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {access}")
    return client


def with_api_token(user: User) -> APIClient:
    client = APIClient()
    _token, text = token_create(actor=user, name="ci")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


WAYS = pytest.mark.parametrize("way", [with_session, with_jwt, with_api_token])
Way = Callable[[User], APIClient]


@WAYS
def test_whoever_changes_something_stands_in_the_log(way: Way, alice: User) -> None:
    """However they sign in, and from where they call, whatever a header claims."""
    client = way(alice)
    UserFactory.create(username="guest")
    dataset = ReadyDatasetFactory.create(owner=alice)
    other = ReadyDatasetFactory.create(owner=alice)
    LogEntry.objects.all().delete()
    forged: dict[str, Any] = {"HTTP_X_FORWARDED_FOR": "<script>", "HTTP_X_FORWARDED_PORT": "9" * 20}
    draft = {"name": "x", "command": "sft", "model": "Qwen/Qwen2.5-7B-Instruct",
             "arguments": {"learning_rate": 1e-4}, "datasets": [dataset.pk], "start": False}  # fmt: skip
    made = client.post("/api/v1/jobs/", draft, **forged)
    assert made.status_code == 201, made.content
    job = f"/api/v1/jobs/{made.json()['id']}/"
    changed = {**draft, "datasets": [other.pk], "arguments": {"learning_rate": 2e-4}}
    assert client.put(job, changed, **forged).status_code == 200
    assert client.patch(job, {"name": "y"}, **forged).status_code == 200
    assert client.post(f"{job}shares/", {"user": "guest"}, **forged).status_code == 201
    assert client.delete(job, **forged).status_code == 204
    remote = {"remote_id": "AI-ModelScope/alpaca-gpt4-data-zh"}
    assert client.post("/api/v1/datasets/", remote, **forged).status_code == 201
    assert client.patch("/api/v1/me/", {"language": "en"}, **forged).status_code == 200

    entries = list(LogEntry.objects.all())
    assert {(entry.actor, entry.remote_addr) for entry in entries} == {(alice, "127.0.0.1")}
    assert {entry.content_type.model for entry in entries} == {"instance", "job", "dataset", "user"}
    of_datasets = [
        entry.changes["datasets"]
        for entry in reversed(entries)
        if entry.additional_data == {"what": "training:datasets"}
    ]
    before, after = (f"training {one.pk} ({one.name})" for one in (dataset, other))
    assert of_datasets == [[[], [before]], [[before], [after]]]


@WAYS
def test_an_operator_stands_in_the_log_of_what_is_not_theirs(
    way: Way, alice: User, olga: User
) -> None:
    client, node = way(olga), OnlineNodeFactory.create(gpus=1)
    job = JobFactory.create(owner=alice)
    LogEntry.objects.all().delete()
    assert client.post(f"/api/v1/nodes/{node.name}/cordon/").status_code == 200
    assert client.patch(f"/api/v1/jobs/{job.pk}/", {"priority": 5}).status_code == 200
    assert {entry.actor for entry in LogEntry.objects.all()} == {olga}
    assert LogEntry.objects.count() >= 2
