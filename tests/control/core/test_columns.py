"""A page by columns is what Django's own slice would be."""

import pytest

from loraforge.accounts.models import Role, User
from loraforge.core import columns
from loraforge.core.columns import ColumnRows, row_by_key
from loraforge.instances.models import Instance
from loraforge.training.selectors import job_columns, job_instances
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory

pytestmark = pytest.mark.django_db
COLUMNS = ("pk", "name", "owner__username", "job__model", "tags", "created_at", "node__name")


@pytest.fixture
def alice() -> User:
    owner: User = UserFactory.create()
    for number in range(5):
        JobFactory.create(owner=owner, instance__name=f"100%s {number % 3}", instance__tags=["a%"])
    JobFactory.create()  # somebody else's
    return owner


@pytest.mark.parametrize("order", [("-pk",), ("name", "-pk"), ("-created_at", "pk")])
@pytest.mark.parametrize("part", [slice(0, 3), slice(3, 50)])
def test_a_page_has_the_rows_and_the_order_of_the_queryset(
    alice: User, order: tuple[str, ...], part: slice
) -> None:
    rows = job_instances(user=alice).order_by(*order)
    assert ColumnRows(rows, COLUMNS).count() == rows.count() == 5
    found = [tuple(one) for one in ColumnRows(rows, COLUMNS)[part]]
    assert found == list(rows.values_list(*COLUMNS)[part])


def test_filters_of_other_tables_and_texts_with_signs_hold(alice: User) -> None:
    rows = job_instances(user=alice).filter(name__icontains="%s 1", job__command="sft")
    assert ColumnRows(rows, COLUMNS).count() == 2
    assert [one[0] for one in ColumnRows(rows, COLUMNS)[0:9]] == [one.pk for one in rows]


def test_what_is_empty_needs_no_database(alice: User, django_assert_num_queries: object) -> None:
    nothing = ColumnRows(Instance.objects.none().order_by("-pk"), COLUMNS)
    with django_assert_num_queries(0):  # type: ignore[operator]
        assert (nothing.count(), nothing[0:50]) == (0, [])


def test_rows_without_an_order_are_refused() -> None:
    with pytest.raises(ValueError, match="ordered"):
        ColumnRows(Instance.objects.order_by(), COLUMNS).count()


def test_the_total_of_a_long_list_is_remembered_for_a_while(
    alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = job_instances(user=alice)
    monkeypatch.setattr(columns, "LONG", 5)
    monkeypatch.setattr(columns, "_totals", {})
    assert ColumnRows(rows, COLUMNS).count() == 5
    JobFactory.create(owner=alice)
    assert ColumnRows(rows, COLUMNS).count() == 5
    assert ColumnRows(rows.filter(name="another"), COLUMNS).count() == 0
    monkeypatch.setattr(columns, "REMEMBERED_S", 0)
    columns._totals.clear()
    assert [ColumnRows(rows, COLUMNS).count() for _again in range(2)] == [6, 6]
    JobFactory.create(owner=alice)
    assert ColumnRows(rows, COLUMNS).count() == 7


def test_the_total_of_a_short_list_is_counted_each_time(alice: User) -> None:
    assert ColumnRows(job_instances(user=alice), COLUMNS).count() == 5
    JobFactory.create(owner=alice)
    assert ColumnRows(job_instances(user=alice), COLUMNS).count() == 6


def test_a_row_by_its_key_is_what_django_would_read(alice: User) -> None:
    job = Instance.objects.filter(owner=alice).first()
    assert job is not None
    for row in (job, alice):
        found = row_by_key(type(row), row.pk)
        assert found is not None
        assert not found._state.adding
        names = [field.attname for field in row._meta.concrete_fields]
        assert [getattr(found, one) for one in names] == [
            getattr(type(row).objects.get(pk=row.pk), one) for one in names
        ]
    assert row_by_key(User, 2**40) is None


def test_each_asker_has_an_own_list_and_a_new_role_another(alice: User) -> None:
    bob: User = UserFactory.create(role=Role.VIEWER)

    def listed(user: User) -> int:
        return job_columns(user=user, columns=COLUMNS).count()

    assert (listed(alice), listed(bob), listed(alice)) == (5, 0, 5)
    bob.role = Role.OPERATOR
    assert listed(bob) == 6
    bob.is_active = False
    assert listed(bob) == 0
