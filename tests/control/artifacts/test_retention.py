"""What goes when: the pure rule over thousands of jobs, the sweep over rows, and downloads that hold it back."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from auditlog.models import LogEntry
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from loraforge.accounts.models import User
from loraforge.artifacts import leases, removals
from loraforge.artifacts.leases import Leased, lease_take
from loraforge.artifacts.lifetimes import retention_get
from loraforge.artifacts.models import FileLease, OutputFile, Removal, RemovalNotice
from loraforge.artifacts.retention import Facts, Place, Rule, is_due, is_to_tell, removal_at
from loraforge.core.errors import Gone
from loraforge.core.models import OutboxMessage
from loraforge.instances.models import Attempt, Instance, InstanceEvent
from loraforge.instances.services import instance_delete, instance_update
from loraforge.instances.states import TERMINAL, State
from loraforge.notifications.models import Notification
from tests.control.artifacts.conftest import FILES
from tests.control.artifacts.test_artifacts import address, body_of
from tests.control.conftest import ClientOf
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory

DAY = timedelta(days=1)
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
RULE = Rule(kept_for=7 * DAY)

MOMENTS = st.none() | st.integers(-20 * 24, 24).map(lambda hours: NOW + timedelta(hours=hours))
FACTS = st.builds(
    Facts,
    state=st.sampled_from(list(State)),
    keep=st.booleans(),
    ended_at=MOMENTS,
    told_at=MOMENTS,
    leased_until=MOMENTS,
)


@given(facts=FACTS, kept_days=st.none() | st.integers(1, 30))
def test_nothing_goes_that_should_not(facts: Facts, kept_days: int | None) -> None:
    rule = Rule(kept_for=None if kept_days is None else kept_days * DAY)
    if not is_due(facts, rule, now=NOW):
        return
    assert kept_days is not None
    assert facts.state in TERMINAL
    assert not facts.keep
    assert facts.ended_at is not None
    assert facts.ended_at + kept_days * DAY <= NOW
    assert facts.told_at is not None
    assert facts.told_at + DAY <= NOW
    assert facts.leased_until is None or facts.leased_until <= NOW


@given(facts=FACTS)
def test_what_has_its_time_behind_it_goes(facts: Facts) -> None:
    """Told in time, held by nobody: it is due at its moment, not before, and was told a day ahead."""
    planned = removal_at(facts, RULE, now=NOW)
    if planned is None:
        assert facts.state not in TERMINAL or facts.keep or facts.ended_at is None
        return
    if facts.told_at is None:
        assert not is_due(facts, RULE, now=NOW + 100 * DAY)
        assert is_to_tell(facts, RULE, now=planned - DAY)
        return
    after = max(planned, facts.leased_until or planned)
    assert is_due(facts, RULE, now=after)
    assert not is_due(facts, RULE, now=planned - timedelta(seconds=1))


def make_jobs(count: int, owner: User, seed: int) -> list[Instance]:
    """Jobs of every state and age, some kept, each with one attempt."""
    draw = random.Random(seed)
    node = OnlineNodeFactory.create()
    Instance.objects.bulk_create(
        Instance(
            owner=owner,
            name="job",
            state=draw.choice(list(State)),
            keep=draw.random() < 0.2,
            attempt=1,
            node=node,
            ended_at=draw.choice([None, NOW - draw.random() * 12 * DAY]),
        )
        for _ in range(count)
    )
    jobs = list(Instance.objects.order_by("pk"))
    Attempt.objects.bulk_create(Attempt(instance=job, number=1, node=node) for job in jobs)
    return jobs


def test_the_rule_over_ten_thousand_jobs_day_by_day() -> None:
    """As the sweep applies it: tell, then remove; hour by hour for a month, keeping on and off."""
    draw = random.Random(11)
    wrong = 0
    for _ in range(10_000):
        state, keep = draw.choice(list(State)), draw.random() < 0.3
        ended = draw.choice([None, NOW - draw.random() * 20 * DAY])
        told: datetime | None = None
        gone: list[datetime] = []
        for hour in range(0, 30 * 24, 12):
            now = NOW + timedelta(hours=hour)
            keep ^= draw.random() < 0.02
            told = None if keep else told
            facts = Facts(state=state, keep=keep, ended_at=ended, told_at=told)
            if is_to_tell(facts, RULE, now=now):
                told = now
            elif not gone and is_due(facts, RULE, now=now):
                gone.append(now)
                is_old = ended is not None and ended + 7 * DAY <= now
                wrong += state not in TERMINAL or keep or not is_old
        if state in TERMINAL and ended is not None and not keep and told is not None:
            assert gone or told + DAY > NOW + timedelta(hours=29 * 24 + 12)
    assert wrong == 0


@pytest.mark.django_db
@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.long)])
def test_of_many_jobs_the_right_ones_go_each_once(
    alice: User, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    jobs = make_jobs(count, alice, seed=7)
    monkeypatch.setattr(removals, "BATCH", 20_000)
    for hours in (0, 12, 24, 36, 48, 48):
        removals.retention_sweep(now=NOW + timedelta(hours=hours))
    end = NOW + 2 * DAY
    wanted = {
        job.pk
        for job in jobs
        if job.state in TERMINAL and not job.keep and job.ended_at and job.ended_at + 7 * DAY <= end
    }
    assert len(wanted) > count // 20
    gone = list(Removal.objects.values_list("attempt__instance_id", "begun_at"))
    assert {pk for pk, _at in gone} == wanted
    assert len(gone) == len(wanted)
    due = {job.pk: job.ended_at + 7 * DAY for job in jobs if job.ended_at is not None}
    assert all(due[pk] <= at for pk, at in gone)
    asked = OutboxMessage.objects.filter(target="gateway.remove_send", payload__tries=0)
    first = {message.payload["instance_id"] for message in asked}
    assert first == wanted
    told = dict(RemovalNotice.objects.values_list("instance_id", "told_at"))
    assert all(told[pk] + DAY <= at for pk, at in gone)


@pytest.mark.django_db
def test_small_steps_get_there_too(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    make_jobs(300, alice, seed=3)
    monkeypatch.setattr(removals, "BATCH", 7)
    while removals._untold(NOW + 20 * DAY):
        removals.retention_sweep(now=NOW + 20 * DAY)
    while removals.retention_sweep(now=NOW + 21 * DAY):
        pass
    left = Instance.objects.filter(state__in=[str(s) for s in TERMINAL], keep=False)
    left = left.exclude(ended_at=None).exclude(attempts__removals__place=Place.NODE)
    assert not left.exists()


def remove_messages() -> list[dict[str, Any]]:
    rows = OutboxMessage.objects.filter(target="gateway.remove_send").order_by("pk")
    return [row.payload for row in rows]


@pytest.fixture
def ended(attempt: Attempt) -> Attempt:
    """The attempt with files, whose job ended at NOW."""
    Instance.objects.filter(pk=attempt.instance_id).update(ended_at=NOW)
    attempt.instance.refresh_from_db()
    return attempt


def test_told_a_day_ahead_removed_once_and_said_so(
    ended: Attempt, alice: User, client_of: ClientOf
) -> None:
    instance = ended.instance
    removals.retention_sweep(now=NOW + 5 * DAY)
    assert not Notification.objects.exists()
    for _twice in range(2):
        removals.retention_sweep(now=NOW + 6 * DAY)
    told = Notification.objects.get()
    assert (told.user, told.what, told.values["date"]) == (alice, "files_go_soon", "2026-06-22")
    before = retention_get(instance=instance, now=NOW + 6 * DAY)
    assert (before.removal_at, before.is_near) == (NOW + 7 * DAY, True)
    assert before.output_bytes == sum(map(len, FILES.values()))
    for hours in (0, 1, 30):
        removals.retention_sweep(now=NOW + 7 * DAY + timedelta(hours=hours))
    removal = Removal.objects.get()
    assert (removal.size_bytes, removal.begun_at) == (before.output_bytes, NOW + 7 * DAY)
    assert InstanceEvent.objects.filter(reason="retention:node_removed").count() == 1
    audited = LogEntry.objects.filter(additional_data__what="artifacts:remove")
    assert [entry.actor for entry in audited] == [None]
    after = retention_get(instance=instance)
    assert (after.output_bytes, after.removal_at, after.removed_at) == (0, None, NOW + 7 * DAY)
    answer = client_of(alice).get(f"/api/v1/jobs/{instance.pk}/artifacts/").json()
    assert answer["results"] == []
    refused = client_of(alice).get(address(ended, "output/args.json"))
    assert (refused.status_code, refused.json()["error"]["id"]) == (410, "artifacts:removed")
    assert "2026-06-22" in refused.json()["error"]["message"]


def test_a_node_is_asked_until_it_confirms(ended: Attempt) -> None:
    removals.retention_sweep(now=NOW + 6 * DAY)
    at = NOW + 7 * DAY
    removals.retention_sweep(now=at)
    first = {"instance_id": ended.instance_id, "attempt": 1, "tries": 0}
    assert remove_messages() == [first]
    ended.node.state = "online"
    ended.node.save()
    removals.retention_sweep(now=at + timedelta(minutes=5))
    assert remove_messages() == [first]
    removals.removal_answered(attempt=ended, error="instance:live")
    removals.retention_sweep(now=at + timedelta(minutes=11))
    assert remove_messages() == [first, {**first, "tries": 1}]
    removals.removal_answered(attempt=ended, error="")
    removals.retention_sweep(now=at + DAY)
    assert len(remove_messages()) == 2
    assert Removal.objects.get().done_at is not None


def test_keep_spares_and_given_free_it_is_told_again(ended: Attempt, alice: User) -> None:
    removals.retention_sweep(now=NOW + 6 * DAY)
    instance_update(actor=alice, instance=ended.instance, keep=True)
    removals.retention_sweep(now=NOW + 30 * DAY)
    assert not Removal.objects.exists()
    assert retention_get(instance=ended.instance).removal_at is None
    instance_update(actor=alice, instance=ended.instance, keep=False)
    free_at = NOW + 31 * DAY
    removals.retention_sweep(now=free_at)
    assert not Removal.objects.exists()
    ended.instance.refresh_from_db()
    assert retention_get(instance=ended.instance, now=free_at).removal_at == free_at + DAY
    removals.retention_sweep(now=free_at + DAY)
    assert Removal.objects.count() == 1


def test_a_next_attempt_begins_its_own_time(ended: Attempt) -> None:
    removals.retention_sweep(now=NOW + 6 * DAY)
    Instance.objects.filter(pk=ended.instance_id).update(
        state=State.RUNNING, ended_at=None, attempt=2
    )
    second = Attempt.objects.create(instance=ended.instance, number=2, node=ended.node)
    removals.retention_sweep(now=NOW + 9 * DAY)
    Instance.objects.filter(pk=ended.instance_id).update(state=State.FAILED, ended_at=NOW + 9 * DAY)
    removals.retention_sweep(now=NOW + 15 * DAY)
    assert not Removal.objects.exists()
    removals.retention_sweep(now=NOW + 16 * DAY)
    assert {row.attempt for row in Removal.objects.all()} == {ended, second}
    assert [message["attempt"] for message in remove_messages()] == [2], "one command a node"


def test_never_when_the_setting_says_so(ended: Attempt, settings: Any) -> None:
    settings.RETENTION_DAYS = 0
    removals.retention_sweep(now=NOW + 999 * DAY)
    assert not RemovalNotice.objects.exists()
    assert retention_get(instance=ended.instance).removal_at is None


def test_deleting_asks_at_once_and_waits_for_a_download(
    ended: Attempt, alice: User, client_of: ClientOf
) -> None:
    ended.node.state = "online"
    ended.node.save()
    answer = client_of(alice).get(address(ended, "output/args.json"))
    instance_delete(actor=alice, instance=ended.instance, files=True)
    assert remove_messages() == [], "somebody is in the middle of it"
    assert body_of(answer) == FILES["output/args.json"]
    assert not OutputFile.objects.filter(removed_at=None).exists()
    later = timezone.now() + leases.HOLD + timedelta(seconds=1)
    removals.retention_sweep(now=later)
    assert [message["attempt"] for message in remove_messages()] == [1]


def test_deleting_without_files_leaves_them_to_their_age(ended: Attempt, alice: User) -> None:
    instance_update(actor=alice, instance=ended.instance, keep=True)
    instance_delete(actor=alice, instance=ended.instance, files=False)
    removals.retention_sweep(now=NOW + 6 * DAY)
    assert not Notification.objects.exists(), "nobody can reach it any more"
    assert not Removal.objects.exists()
    removals.retention_sweep(now=NOW + 7 * DAY)
    assert Removal.objects.count() == 1


@pytest.mark.parametrize("what", ["artifacts/output/args.json", "artifacts.zip"])
def test_nothing_goes_while_it_downloads(
    ended: Attempt, alice: User, client_of: ClientOf, what: str
) -> None:
    moment = timezone.now()
    Instance.objects.filter(pk=ended.instance_id).update(ended_at=moment - 8 * DAY)
    RemovalNotice.objects.create(
        instance=ended.instance, ended_at=moment - 8 * DAY, told_at=moment - 2 * DAY
    )
    answer = client_of(alice).get(f"/api/v1/jobs/{ended.instance_id}/{what}")
    assert answer.status_code == 200
    removals.retention_sweep(now=moment)
    assert not Removal.objects.exists()
    assert body_of(answer)
    removals.retention_sweep(now=moment + leases.HOLD + timedelta(minutes=1))
    assert Removal.objects.count() == 1
    with pytest.raises(Gone):
        lease_take(attempt=ended, holder="download:1")


class _Pieces:
    def read(self, _size: int, /) -> bytes:
        return b"x"

    def close(self) -> None:
        """Nothing is held."""


def test_a_long_download_renews_its_lease(ended: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "RENEW_S", 0.0)
    monkeypatch.setattr(leases, "close_old_connections", lambda: None)
    lease_take(attempt=ended, holder="download:1", hold=timedelta(seconds=1))
    first = FileLease.objects.get().expires_at
    Leased(_Pieces(), instance_id=ended.instance_id, holder="download:1").read(1)
    assert FileLease.objects.get().expires_at > first + timedelta(minutes=5)


def test_a_job_that_never_ran_has_nothing_to_remove(alice: User) -> None:
    JobInstanceFactory.create(owner=alice, state=State.STOPPED, ended_at=NOW)
    removals.retention_sweep(now=NOW + 6 * DAY)
    removals.retention_sweep(now=NOW + 8 * DAY)
    assert not RemovalNotice.objects.exists()
    assert not Removal.objects.exists()
