"""The audit log: who did what, for those who may know, and for ever."""

import pytest
from auditlog.models import LogEntry
from django.test import Client

from loraforge.accounts.models import User
from tests.control.conftest import ClientOf
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory

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
