"""What SQLite, with its one writer, cannot show: processes that meet. Collected on PostgreSQL only."""

import asyncio
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from loraforge.core import outbox, relay
from loraforge.core.errors import Conflict
from loraforge.core.models import OutboxMessage
from loraforge.core.threads import in_thread
from loraforge.instances.models import Attempt, DeviceLease, Instance
from loraforge.instances.services import instance_assign, instance_stop
from loraforge.instances.states import State
from loraforge.scheduling.services import instances_place
from loraforge.telemetry import services as telemetry
from loraforge.telemetry.models import LogChunk
from loraforge.training.models import Job
from loraforge.training.resuming import job_resume
from tests.control.gateway.conftest import broker, client
from tests.control.training.test_resuming import leave
from tests.control.webserver import wait_until
from tests.factories.accounts import UserFactory
from tests.factories.telemetry import AttemptFactory
from tests.factories.training import JobFactory, JobInstanceFactory, OnlineNodeFactory

if TYPE_CHECKING:
    import redis

__all__ = ["broker", "client"]
pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis, pytest.mark.postgres]


def at_once(count: int, work: Callable[[], Any]) -> list[Any]:
    """What ``work`` gives in that many threads that begin together, each with its own connection."""
    barrier = threading.Barrier(count)

    def one() -> Any:
        try:
            barrier.wait(20)
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(count) as threads:
        return [future.result(60) for future in [threads.submit(one) for _ in range(count)]]


def test_relays_share_the_outbox_and_send_each_message_once(
    broker: str, client: "redis.Redis"
) -> None:
    for number in range(600):
        outbox.task_enqueue("a.one", number=number)

    def drain() -> int:
        count = 0
        while sent := relay.outbox_drain():
            count += sent
        return count

    assert sum(at_once(3, drain)) == 600
    raw: Any = client.lrange("control", 0, -1)
    ids = [json.loads(message)["headers"]["kwargsrepr"] for message in raw]
    assert len(ids) == len(set(ids)) == 600


@pytest.fixture
def running_relay(broker: str) -> Any:
    stopping = threading.Event()
    thread = threading.Thread(target=relay.Relay(stopping).run)
    thread.start()
    yield thread
    stopping.set()
    thread.join(20)
    assert not thread.is_alive()


def listeners() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("select pid from pg_stat_activity where query = 'LISTEN lf_outbox'")
        return [row[0] for row in cursor.fetchall()]


def left_after(client: "redis.Redis") -> float:
    """Seconds from the commit of a message to its arrival in Redis."""
    before = client.llen("control")
    outbox.task_enqueue("a.one")
    began = time.monotonic()
    wait_until(lambda: client.llen("control") > before)
    return time.monotonic() - began


def test_a_commit_wakes_the_relay(running_relay: Any, client: "redis.Redis") -> None:
    wait_until(listeners)
    waits = sorted(left_after(client) for _ in range(9))
    assert waits[4] < relay.LOOK_EVERY_S / 4, waits  # the median: without NOTIFY it is half of it


def test_a_relay_whose_connections_were_cut_goes_on(
    running_relay: Any, client: "redis.Redis"
) -> None:
    first = wait_until(listeners)
    with connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where pid <> pg_backend_pid() and datname = current_database()"
        )
    outbox.task_enqueue("a.one")
    wait_until(lambda: client.llen("control") == 1)
    again = wait_until(listeners)
    assert set(again).isdisjoint(first)


def backend() -> int:
    return one_value("select pg_backend_pid()")


def one_value(sql: str, *params: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        return int(cursor.fetchone()[0])


def test_a_connection_that_was_cut_is_given_to_nobody() -> None:
    backend()  # this thread's own
    [pid] = at_once(1, backend)
    one_value("select pg_terminate_backend(%s)::int", pid)
    wait_until(lambda: not one_value("select count(*) from pg_stat_activity where pid = %s", pid))
    assert pid not in at_once(3, backend)


def test_a_hundred_jobs_race_for_two_devices_with_eight_schedulers() -> None:
    node = OnlineNodeFactory.create(gpus=2)
    now = timezone.now()
    owners = [UserFactory.create() for _ in range(10)]
    Instance.objects.bulk_create(
        JobInstanceFactory.build(owner=owners[n % 10], state=State.QUEUED, queued_at=now)
        for n in range(100)
    )
    for taken in (2, 4):
        assert sum(at_once(8, instances_place)) == 2
        held = DeviceLease.objects.filter(released_at=None).values_list("device_uuid", flat=True)
        assert sorted(held) == [f"GPU-{node.name}-0", f"GPU-{node.name}-1"]
        assert Instance.objects.filter(state=State.ASSIGNED).count() == taken
        DeviceLease.objects.update(released_at=timezone.now())


def test_two_that_resume_a_job_at_once_make_one_attempt() -> None:
    job: Job = JobFactory.create(
        state=State.STOPPED, instance__attempt=1, instance__step=45, instance__max_steps=100
    )
    first = Attempt.objects.create(
        instance=job.instance, number=1, node=OnlineNodeFactory.create(gpus=1), ended_at=timezone.now()
    )  # fmt: skip
    leave(first, 20, 40)

    def resume() -> str:
        mine = Job.objects.select_related("instance").get(pk=job.pk)
        try:
            return str(job_resume(actor=job.instance.owner, job=mine).instance.state)
        except Conflict as refused:
            return refused.error_id

    assert sorted(at_once(4, resume)) == ["queued", *["training:not_resumable"] * 3]
    assert instances_place() == 1
    assert Attempt.objects.filter(instance=job.pk).count() == 2


def test_who_cancels_while_it_is_being_placed_is_not_refused() -> None:
    node = OnlineNodeFactory.create(gpus=1)
    job = JobInstanceFactory.create(state=State.QUEUED, queued_at=timezone.now())
    with ThreadPoolExecutor(1) as pool:
        with transaction.atomic():
            instance_assign(instance=job, node=node, devices=[f"GPU-{node.name}-0"])
            cancelled = pool.submit(cancel, job.pk)
            wait_until(lambda: one_value("select count(*) from pg_locks where not granted"))
        assert cancelled.result(60) == State.STOPPING


def cancel(pk: int) -> str:
    try:
        found = Instance.objects.select_related("owner").get(pk=pk)
        return str(instance_stop(actor=found.owner, instance=found, mode="now").state)
    finally:
        connection.close()


def test_the_same_bytes_stored_at_once_are_stored_once() -> None:
    attempt: Attempt = AttemptFactory.create()
    data = b"line\n" * 1000

    def store() -> int:
        kept = telemetry.chunk_store(
            attempt=attempt, stream="log", start=0, end=len(data), data=data
        )
        return kept.committed_end

    assert at_once(6, store) == [len(data)] * 6
    assert b"".join(bytes(row.data) for row in LogChunk.objects.order_by("start")) == data


async def test_asyncio_code_takes_no_more_connections_than_the_pool_has() -> None:
    await asyncio.gather(*(in_thread(OutboxMessage.objects.count)() for _ in range(200)))
    size = int(connection.settings_dict["OPTIONS"]["pool"]["max_size"])
    assert await in_thread(connections_now)() <= size


def connections_now() -> int:
    with connection.cursor() as cursor:
        cursor.execute("select count(*) from pg_stat_activity where datname = current_database()")
        return int(cursor.fetchone()[0])
