"""The rule of access as one table: role x whose row x action."""

from itertools import product

import pytest
from django.contrib.auth.models import AnonymousUser, Group, Permission
from guardian.models import GroupObjectPermission

from loraforge.accounts import access, sharing
from loraforge.accounts.access import Action
from loraforge.accounts.models import ApiToken, Role, User
from loraforge.core.errors import Denied, NotFound
from loraforge.datasets.models import Upload
from loraforge.instances.models import Instance
from loraforge.training.models import Job
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory

pytestmark = pytest.mark.django_db

VIEW, DOWNLOAD, CHANGE, SHARE = Action.VIEW, Action.DOWNLOAD, Action.CHANGE, Action.SHARE
ROW_ACTIONS = (VIEW, DOWNLOAD, CHANGE, SHARE)
ALL = set(ROW_ACTIONS)
R, OP, A, V = Role.RESEARCHER, Role.OPERATOR, Role.ADMIN, Role.VIEWER

TABLE = {
    (R, "own"): ALL,
    (R, "shared"): {VIEW, DOWNLOAD},
    (R, "foreign"): set(),
    (OP, "own"): ALL,
    (OP, "shared"): {VIEW, DOWNLOAD, CHANGE},
    (OP, "foreign"): {VIEW, CHANGE},
    (A, "own"): ALL,
    (A, "shared"): {VIEW, DOWNLOAD, CHANGE},
    (A, "foreign"): {VIEW, CHANGE},
    (V, "own"): {VIEW, DOWNLOAD},
    (V, "shared"): {VIEW, DOWNLOAD},
    (V, "foreign"): set(),
}
PLATFORM = {
    R: {Action.CREATE},
    OP: {Action.CREATE, Action.OPERATE, Action.AUDIT},
    A: {Action.CREATE, Action.OPERATE, Action.AUDIT, Action.ADMINISTER},
    V: set(),
}


def job_for(user: User, whose: str) -> Job:
    owner = user if whose == "own" else UserFactory.create()
    job: Job = JobFactory.create(owner=owner)
    if whose == "shared":
        sharing.share_grant(
            actor=owner,
            row=job.instance,
            codename="download_instance",
            username=user.username,
        )
    return job


def test_the_table_speaks_of_every_role_and_kind_of_row() -> None:
    assert set(TABLE) == set(product(Role, ("own", "shared", "foreign")))
    assert set(PLATFORM) == set(Role)


@pytest.mark.parametrize(("role", "whose"), TABLE)
def test_what_a_role_may_do_to_a_row(role: Role, whose: str) -> None:
    user = UserFactory.create(role=role)
    job = job_for(user, whose)
    wanted = TABLE[role, whose]
    for row in (job, job.instance):
        assert {one for one in ROW_ACTIONS if access.allowed(user, one, row)} == wanted
        rows = access.visible(user, type(row).objects.all())
        assert list(rows) == ([row] if VIEW in wanted else [])
        to_fetch = access.visible(user, type(row).objects.all(), action=DOWNLOAD)
        assert list(to_fetch) == ([row] if DOWNLOAD in wanted else [])
        for action in ALL - wanted:
            with pytest.raises(Denied if VIEW in wanted else NotFound):
                access.require(user, action, row)
        for action in wanted:
            access.require(user, action, row)


@pytest.mark.parametrize("role", list(Role))
def test_what_a_role_may_do_to_the_platform(role: Role) -> None:
    user = UserFactory.create(role=role)
    assert set(access.capabilities(user)) == PLATFORM[role]
    for action in (Action.CREATE, Action.OPERATE, Action.AUDIT, Action.ADMINISTER):
        assert access.may(user, action) is (action in PLATFORM[role])
        if action not in PLATFORM[role]:
            with pytest.raises(Denied):
                access.require(user, action)


@pytest.mark.parametrize("role", list(Role))
def test_a_disabled_user_sees_and_may_nothing(role: Role) -> None:
    user = UserFactory.create(role=role, is_active=False)
    job = job_for(user, "own")
    assert not access.visible(user, Job.objects.all()).exists()
    assert not any(access.allowed(user, action, job) for action in ROW_ACTIONS)
    assert access.capabilities(user) == []


def test_a_stranger_sees_and_may_nothing() -> None:
    job = JobFactory.create()
    nobody = AnonymousUser()
    assert not access.visible(nobody, Job.objects.all()).exists()
    assert not any(access.allowed(nobody, action, job) for action in ROW_ACTIONS)


def test_a_share_is_of_one_row_and_of_one_kind() -> None:
    """A share of instance 1 says nothing of instance 2, nor of a dataset or an upload."""
    user = UserFactory.create()
    shared = job_for(user, "shared")
    other = JobFactory.create(owner=shared.instance.owner)
    assert list(access.visible(user, Instance.objects.all())) == [shared.instance]
    assert not access.allowed(user, VIEW, other)


def test_a_share_through_a_group() -> None:
    user, job = UserFactory.create(), JobFactory.create()
    group = Group.objects.create(name="team")
    user.groups.add(group)
    permission = Permission.objects.get(codename="download_instance")
    GroupObjectPermission.objects.create(
        group=group,
        permission=permission,
        content_type=permission.content_type,
        object_pk=str(job.pk),
    )
    assert access.allowed(user, DOWNLOAD, job)
    assert list(access.visible(user, Job.objects.all())) == [job]


def test_a_taken_back_share_ends() -> None:
    user = UserFactory.create()
    job = job_for(user, "shared")
    sharing.share_revoke(
        actor=job.instance.owner,
        row=job.instance,
        codename="download_instance",
        username=user.username,
    )
    assert not access.allowed(user, VIEW, job)


def test_filtering_costs_one_query_however_many_shares(
    django_assert_num_queries: pytest.FixtureRequest,
) -> None:
    user = UserFactory.create()
    jobs = [job_for(user, "shared") for _ in range(5)]
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert len(access.visible(user, Job.objects.all())) == len(jobs)


def test_a_model_nobody_registered_is_a_fault_even_for_operators() -> None:
    operator = UserFactory.create(operator=True)
    with pytest.raises(KeyError):
        access.visible(operator, Group.objects.all())
    with pytest.raises(KeyError):
        access.allowed(operator, VIEW, Group.objects.create(name="x"))


def test_rows_without_shares_are_the_owners_alone() -> None:
    owner, other = UserFactory.create(), UserFactory.create()
    token = ApiToken.objects.create(owner=owner, name="t", digest="0" * 64)
    assert list(access.visible(owner, ApiToken.objects.all())) == [token]
    assert not access.visible(other, ApiToken.objects.all()).exists()
    assert not access.visible(other, Upload.objects.all()).exists()
