"""The ledger: written once, by the control plane's times, and never rewritten; statements are its sums."""

import csv
import io
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.core.management.color import no_style
from django.db import IntegrityError, connection, transaction
from django.db.models import Sum
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.billing import statements
from loraforge.billing.models import LedgerLine, LedgerShare, Metering, Price
from loraforge.billing.selectors import cost_get, estimate_get
from loraforge.billing.services import (
    attempt_meter,
    ledger_fill,
    line_take_back,
    price_create,
    price_delete,
    price_save,
)
from loraforge.billing.texts import estimate_said
from loraforge.core.errors import Conflict, Denied, Invalid
from loraforge.instances.services import instance_assign, instance_queue, instance_stop
from loraforge.instances.states import State
from loraforge.instances.transitions import instance_move
from loraforge.nodes.models import Device, Node
from tests.control.billing.conftest import H100, NOON, RanJob, instance_of, price_of
from tests.control.conftest import ClientOf
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


def amounts() -> list[Decimal]:
    return list(LedgerLine.objects.order_by("pk").values_list("amount", flat=True))


def test_a_job_is_metered_from_its_assignment_to_its_end(alice: User, node: Node) -> None:
    price_of("3600")
    instance = instance_queue(actor=alice, instance=JobInstanceFactory.create(owner=alice, gpus=2))
    attempt = instance_assign(instance=instance, node=node, devices=["GPU-n1-0", "GPU-n1-1"])
    began = timezone.now() - timedelta(seconds=90)
    attempt.leases.update(leased_at=began)
    instance.refresh_from_db()
    # What the node says of its times, two hours off, decides nothing.
    attempt.steps = {"model": {"began": "2026-01-01T00:00:00Z", "ended": "2031-01-01T00:00:00Z"}}
    attempt.running_at = began + timedelta(hours=2)
    attempt.ended_at = began + timedelta(hours=4)
    attempt.save()
    instance_move(instance=instance, target=State.FAILED)
    lease = attempt.leases.first()
    assert lease is not None
    assert lease.released_at is not None
    seconds = int(lease.released_at.timestamp()) - int(began.timestamp())
    lines = LedgerLine.objects.all()
    assert sum(line.gpu_seconds for line in lines) == 2 * seconds
    assert sum(line.amount for line in lines) == 2 * seconds
    assert {line.owner for line in lines} == {alice}


def test_a_withdrawn_job_costs_nothing(alice: User) -> None:
    instance = instance_queue(actor=alice, instance=JobInstanceFactory.create(owner=alice))
    instance_stop(actor=alice, instance=instance)
    assert not LedgerLine.objects.exists()


def test_what_no_event_has_written_is_filled_once(alice: User, ran: RanJob) -> None:
    price_of("10")
    ran(alice, began=NOON, seconds=3600, gpus=2)
    assert [ledger_fill(), ledger_fill()] == [1, 0]
    assert amounts() == [Decimal(20)]
    Metering.objects.update(final=False)  # even then the constraint keeps it single
    with pytest.raises(IntegrityError), transaction.atomic():
        ledger_fill()


def test_a_price_change_in_mid_run_splits_the_line(alice: User, ran: RanJob) -> None:
    price_of("10", last_day=date(2026, 11, 20))
    price_of("20", date(2026, 11, 21))
    ran(alice, began=NOON, seconds=6 * 3600)  # 20:00 to 2:00 in Shanghai
    ledger_fill()
    assert amounts() == [Decimal(40), Decimal(40)]


def test_a_month_ends_at_local_midnight_and_is_written_while_the_job_goes_on(
    alice: User, ran: RanJob
) -> None:
    price_of("10")
    began = datetime(2026, 11, 30, 14, tzinfo=UTC)
    attempt = ran(alice, began=began, seconds=None)
    now = datetime(2026, 11, 30, 16, 30, tzinfo=UTC)  # 0:30 of the first in Shanghai
    assert ledger_fill(now=now - timedelta(hours=1)) == 0
    assert [ledger_fill(now=now), ledger_fill(now=now)] == [1, 0]
    line = LedgerLine.objects.get()
    assert (line.month, line.amount, line.seconds) == ("2026-11", Decimal(20), 7200)
    cost = cost_get(instance=instance_of(attempt), now=now)
    assert cost is not None
    assert (cost.amount, cost.gpu_seconds, cost.per_hour) == (Decimal(25), 9000, Decimal(10))
    attempt.leases.update(released_at=now)
    assert ledger_fill(now=now) == 1
    assert [line.month for line in LedgerLine.objects.order_by("pk")] == ["2026-11", "2026-12"]
    assert sum(amounts()) == Decimal(25)


def test_another_calendar_loses_no_second(alice: User, ran: RanJob, settings: Any) -> None:
    price_of("10")
    attempt = ran(alice, began=datetime(2026, 11, 30, 12, tzinfo=UTC), seconds=None)
    settings.BILLING_TIME_ZONE = "UTC"
    ledger_fill(now=datetime(2026, 12, 1, 1, tzinfo=UTC))
    settings.BILLING_TIME_ZONE = "Asia/Shanghai"
    attempt.leases.update(released_at=datetime(2026, 12, 1, 2, tzinfo=UTC))
    ledger_fill()
    assert amounts() == [Decimal(120), Decimal(20)]


def test_cpu_slots_are_not_metered(alice: User, node: Node, ran: RanJob) -> None:
    attempt = ran(alice, began=NOON, seconds=100)
    attempt.leases.update(device_uuid="cpu-0")
    assert ledger_fill() == 0
    assert Metering.objects.get().final


def test_the_ledger_is_never_rewritten(alice: User, ran: RanJob) -> None:
    ran(alice, began=NOON, seconds=100)
    ledger_fill()
    line = LedgerLine.objects.get()
    for change in (line.save, line.delete, LedgerLine.objects.all().delete):
        with pytest.raises(TypeError):
            change()
    with pytest.raises(TypeError):
        LedgerLine.objects.update(amount=1)
    with (
        pytest.raises(IntegrityError, match="never rewritten"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute("UPDATE billing_ledgerline SET amount = 1")


def test_tests_empty_the_ledger_and_its_guard_stays(alice: User, ran: RanJob) -> None:
    for _time in range(2):
        attempt = ran(alice, began=NOON, seconds=100)
        assert ledger_fill() == 1
        with (
            pytest.raises(IntegrityError, match="never rewritten"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute("DELETE FROM billing_ledgerline")
        tables = [LedgerShare._meta.db_table, LedgerLine._meta.db_table]
        connection.ops.execute_sql_flush(connection.ops.sql_flush(no_style(), tables))
        assert not LedgerLine.objects.filter(attempt=attempt).exists()


def test_a_correction_is_a_new_line(alice: User, olga: User, root: User, ran: RanJob) -> None:
    price_of("10")
    group = Group.objects.create(name="nlp")
    alice.groups.add(group)
    ran(alice, began=NOON, seconds=3600)
    ledger_fill()
    line = LedgerLine.objects.get()
    with pytest.raises(Denied):
        line_take_back(actor=olga, line=line)
    made = line_take_back(actor=root, line=line)
    assert (made.amount, made.gpu_seconds) == (-line.amount, -line.gpu_seconds)
    assert made.shares.get().group == group
    for one in (line, made):
        with pytest.raises(Conflict):
            line_take_back(actor=root, line=one)
    assert sum(amounts()) == 0


def test_prices_of_one_thing_never_overlap(root: User, node: Node, olga: User) -> None:
    def add(first: date, last: date | None = None, **target: Any) -> Price:
        given = target or {"gpu_model": H100.lower()}
        return price_create(
            actor=root, per_hour=Decimal(1), first_day=first, last_day=last, **given
        )

    price_of("10", date(2026, 1, 1), last_day=date(2026, 6, 30))
    for first, last in ((date(2026, 6, 30), None), (date(2025, 1, 1), date(2026, 1, 1))):
        with pytest.raises(Invalid) as refused:
            add(first, last)
        assert "2026-06-30" in refused.value.fields["first_day"][0]
        with pytest.raises(IntegrityError, match="overlap"), transaction.atomic():
            price_of("1", first, last_day=last)
    add(date(2026, 7, 1))
    add(date(2026, 3, 1), node=node)
    for wrong in ({"node": node, "gpu_model": H100}, {"gpu_model": " "}):
        with pytest.raises(Invalid):
            add(date(2030, 1, 1), **wrong)
    with pytest.raises(Denied):
        price_create(actor=olga, per_hour=Decimal(1), first_day=date(2031, 1, 1), gpu_model="L4")


def test_a_price_that_was_used_is_only_ended(root: User, alice: User, ran: RanJob) -> None:
    price = price_of("10")
    ran(alice, began=NOON, seconds=3600)
    ledger_fill()
    with pytest.raises(Conflict):
        price_delete(actor=root, price=price)
    price.per_hour = Decimal(20)
    with pytest.raises(Invalid):
        price_save(actor=root, price=price)
    price.refresh_from_db()
    price.last_day = date(2026, 11, 19)
    with pytest.raises(Invalid):
        price_save(actor=root, price=price)
    price.last_day = date(2026, 11, 20)
    price_save(actor=root, price=price)


def test_costs_are_hidden_until_there_is_a_price(alice: User, ran: RanJob, node: Node) -> None:
    attempt = ran(alice, began=NOON, seconds=None)
    devices = list(Device.objects.all())
    assert cost_get(instance=instance_of(attempt)) is None
    assert estimate_get(devices=devices, gpus=1) is None
    price_of("10")
    cheap = OnlineNodeFactory.create(name="n2", gpus=1)
    price_of("2.5", node=cheap)
    devices = list(Device.objects.all())
    estimate = estimate_get(devices=devices, gpus=2, run_s=5400, now=NOON)
    assert estimate is not None
    assert estimate_said(estimate) == "5.00 – 20.00 CNY an hour, at most 7.50 – 30.00 CNY in 1.5 h"


def test_the_job_and_its_preview_tell_costs(alice: User, ran: RanJob, client_of: ClientOf) -> None:
    attempt = ran(alice, began=NOON, seconds=3600)
    client = client_of(alice)
    address = f"/api/v1/jobs/{attempt.instance_id}/"
    assert client.get(address).json()["cost"] is None
    price_of("10")
    ledger_fill()
    wanted = {"amount": "10.00", "currency": "CNY", "gpu_seconds": 3600, "per_hour": None}
    assert client.get(address).json()["cost"] == wanted
    draft = {"gpus": 2, "max_run_s": 7200}
    estimate = client.post("/api/v1/swift/preview/", draft).json()["estimate"]
    assert (estimate["per_hour_most"], estimate["total_most"]) == ("20.00", "40.00")


def fill(people: list[User], ran: RanJob, count: int) -> None:
    for number in range(count):
        began = datetime(2026, 10, 31, 12 + number % 7, 0, number, tzinfo=UTC)
        ran(people[number % len(people)], began=began, seconds=7001 + number * 37)
    ledger_fill()


def test_a_statement_is_the_ledger_to_the_cent(
    alice: User, bob: User, olga: User, ran: RanJob, client_of: ClientOf
) -> None:
    price_of("11.37")
    for name in ("nlp", "cv"):
        bob.groups.add(Group.objects.create(name=name))
    fill([alice, bob], ran, 14)
    client = client_of(olga)
    rows = client.get("/api/v1/usage/").json()["results"]
    assert {(row["month"], row["user"]) for row in rows} == {
        (month, name) for month in ("2026-10", "2026-11") for name in ("alice", "bob")
    }
    for row in rows:
        asked = {"month": row["month"], "user": row["user"]}
        lines = client.get("/api/v1/usage/lines/", asked).json()["results"]
        text = client.get("/api/v1/usage/statement.csv", asked).content.decode("utf-8-sig")
        table = list(csv.DictReader(io.StringIO(text)))
        own = LedgerLine.objects.filter(month=row["month"], owner__username=row["user"])
        exact = sum((line.amount for line in own), Decimal(0))
        assert Decimal(row["amount"]) == exact
        assert sum(Decimal(line["amount"]) for line in lines) == exact
        assert sum(Decimal(line["amount"]) for line in table) == exact
        assert row["gpu_seconds"] == sum(line.gpu_seconds for line in own)
    shared = client.get("/api/v1/usage/", {"by": "group"}).json()["results"]
    of_bob = LedgerLine.objects.filter(owner=bob).aggregate(total=Sum("amount"))["total"]
    for name in ("nlp", "cv"):  # of both groups all, though the person is one
        rows = client.get("/api/v1/usage/", {"by": "group", "group": name}).json()["results"]
        assert sum(Decimal(row["amount"]) for row in rows) == of_bob
        assert [row for row in shared if row["group"] == name] == rows


def test_people_see_their_own_lines_and_operators_all(
    alice: User, bob: User, olga: User, ran: RanJob, client_of: ClientOf
) -> None:
    fill([alice, bob], ran, 2)
    assert {row["user"] for row in client_of(alice).get("/api/v1/usage/").json()["results"]} == {
        "alice"
    }
    assert client_of(alice).get("/api/v1/usage/", {"user": "bob"}).json()["count"] == 0
    assert client_of(olga).get("/api/v1/usage/", {"month": "2026-10"}).json()["count"] == 2
    refused = client_of(alice).get("/api/v1/usage/", {"month": "2026-13"})
    assert (refused.status_code, refused.json()["error"]["id"]) == (400, "billing:bad_month")
    assert statements.line_list(user=bob).count() == 1


def test_metering_many_takes_as_many_queries_each_as_one(alice: User, ran: RanJob) -> None:
    def queries(gpus: int) -> int:
        attempt = ran(alice, began=NOON, seconds=100, gpus=gpus)
        with CaptureQueriesContext(connection) as found:
            attempt_meter(attempt=attempt)
        return len(found)

    price_of("10")
    assert queries(1) == queries(4)
    attempt = ran(alice, began=NOON, seconds=None)
    with CaptureQueriesContext(connection) as few:
        cost_get(instance=instance_of(attempt))
    assert len(few) <= 5


def test_a_name_is_no_formula(alice: User, ran: RanJob) -> None:
    attempt = ran(alice, began=NOON, seconds=100)
    instance = instance_of(attempt)
    ledger_fill()
    for sign in "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20":
        instance.name = f'{sign}HYPERLINK("x")'
        instance.save()
        text = "".join(statements.statement_csv(statements.line_list(user=alice)))
        names = [row["job_name"] for row in csv.DictReader(io.StringIO(text, newline=""))]
        assert names == [f"'{instance.name}"]


def test_pages_of_usage(alice: User, olga: User, ran: RanJob, client: Any) -> None:
    fill([alice], ran, 3)
    client.force_login(alice)
    free = client.get("/usage/", {"month": "2026-10"}).content.decode()
    assert "CNY" not in free
    price_of("10")
    ran(alice, began=datetime(2026, 10, 30, tzinfo=UTC), seconds=3600, gpus=4)
    ledger_fill()
    page = client.get("/usage/", {"month": "2026-10"}).content.decode()
    assert "40.00 CNY" in page
    assert client.get("/usage/", {"user": "olga"}).status_code == 200
    for month, status in (("0001-01", 200), ("9999-12", 400), ("x", 400)):
        assert client.get("/usage/", {"month": month}).status_code == status
    assert client.get("/usage/all/").status_code == 403
    client.force_login(olga)
    assert "alice" in client.get("/usage/all/", {"month": "2026-10"}).content.decode()
    assert (
        "40.00 CNY" in client.get("/usage/", {"month": "2026-10", "user": "alice"}).content.decode()
    )
