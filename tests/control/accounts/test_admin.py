"""The admin: operators look at everything, change what is theirs to change; others are sent away."""

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse

from loraforge.accounts.admin_base import ReadOnlyModelAdmin
from loraforge.accounts.models import ApiToken, User
from loraforge.scheduling.models import RunCap
from tests.factories.accounts import PASSWORD, ApiTokenFactory, UserFactory
from tests.factories.training import JobDatasetFactory, JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db

OURS = [model for model in admin.site._registry if model.__module__.startswith("loraforge.")]


def address(model: Any, what: str, *args: Any) -> str:
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_{what}", args=args)


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_operators_see_every_list_and_nobody_else_does(model: Any) -> None:
    operator = UserFactory.create(operator=True)
    JobDatasetFactory.create(job=JobFactory.create(instance__node=OnlineNodeFactory.create(gpus=1)))
    listed = address(model, "changelist")
    assert browser_of(operator).get(listed).status_code == 200
    for stranger in (UserFactory.create(), UserFactory.create(viewer=True)):
        assert browser_of(stranger).get(listed).status_code == 302
    assert Client().get(listed).status_code == 302


@pytest.mark.parametrize("model", OURS, ids=lambda model: model._meta.label)
def test_what_only_services_write_cannot_be_added(model: Any) -> None:
    page = admin.site._registry[model]
    # people and caps are added by forms that call their services
    if isinstance(page, ReadOnlyModelAdmin) and model not in {User, RunCap}:
        operator = browser_of(UserFactory.create(admin=True))
        assert operator.get(address(model, "add")).status_code == 403


def test_a_job_is_readable_and_unchangeable() -> None:
    operator = browser_of(UserFactory.create(operator=True))
    job = JobFactory.create(
        instance__node=OnlineNodeFactory.create(name="n1"), instance__name="Zebra"
    )
    found = operator.get(address(type(job), "change", job.pk))
    assert found.status_code == 200
    assert b"Zebra" in found.content
    changed = operator.post(address(type(job), "change", job.pk), {"model": "x"})
    assert changed.status_code == 403


def test_only_administrators_change_people() -> None:
    person = UserFactory.create()
    form = {"username": person.username, "role": "operator", "is_active": "on", "language": ""}
    target = address(User, "change", person.pk)
    assert browser_of(UserFactory.create(operator=True)).post(target, form).status_code == 403
    done = browser_of(UserFactory.create(admin=True)).post(target, form)
    assert done.status_code == 302, done.content[:3000]
    person.refresh_from_db()
    assert (person.role, person.is_staff) == ("operator", True)


def test_a_password_set_in_the_admin_revokes() -> None:
    person = UserFactory.create()
    ApiTokenFactory.create(owner=person)
    administrator = browser_of(UserFactory.create(admin=True))
    target = reverse("admin:auth_user_password_change", args=(person.pk,))
    new = f"{PASSWORD} again"
    done = administrator.post(
        target, {"password1": new, "password2": new, "usable_password": "true"}
    )
    assert done.status_code == 302, done.content[:3000]
    person.refresh_from_db()
    assert person.check_password(new)
    assert not ApiToken.objects.exists()
