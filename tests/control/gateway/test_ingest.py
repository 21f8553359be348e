"""Reports of a real Redis stream into SQLite: in order, once, and through every outage."""

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.db import OperationalError, connection
from django.utils import timezone

from loraforge.artifacts.models import OutputFile
from loraforge.gateway import ingest as ingest_module
from loraforge.gateway import store as store_module
from loraforge.gateway.ingest import GROUP, Ingest
from loraforge.gateway.models import DeadLetter, JournalPosition
from loraforge.instances.models import Attempt, InstanceEvent
from loraforge.instances.preparing import stages_of
from loraforge.instances.services import instance_assign, instance_queue
from loraforge.instances.states import State
from loraforge.nodes.models import Node, NodeState
from loraforge.telemetry import services as telemetry
from loraforge.telemetry.models import LogChunk, Sample, StreamPosition
from nodeagent.contract.channels import ACK_AGENT, LIVE_STREAM, ack_key, report_stream
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import (
    File,
    Files,
    Heartbeat,
    HostSample,
    JobSample,
    Report,
    Step,
    report_pack,
)
from nodeagent.contract.reports import Sample as NodeSample
from tests.control.gateway.conftest import Agent, state_of
from tests.factories.training import OnlineNodeFactory

if TYPE_CHECKING:
    import redis

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def log_of(attempt: Attempt) -> bytes:
    return b"".join(
        bytes(row.data) for row in LogChunk.objects.filter(attempt=attempt).order_by("start")
    )


def test_a_whole_life(
    agent: Agent, ingest: Ingest, attempt: Attempt, client: "redis.Redis"
) -> None:
    agent.phase(attempt, Phase.ACCEPTED)
    agent.phase(attempt, Phase.PREPARING)
    agent.phase(attempt, Phase.STARTING)
    agent.phase(attempt, Phase.RUNNING, pid=77)
    agent.chunk(attempt, "log", b"one\ntwo\n")
    agent.chunk(
        attempt,
        "metric",
        b'{"loss": 1.5, "global_step/max_steps": "5/20", "remaining_time": "1m 5s"}\n',
    )
    ingest.turn(block_ms=1)
    instance = state_of(attempt)
    assert (instance.state, instance.step, instance.max_steps, instance.eta_s) == (
        State.RUNNING,
        5,
        20,
        65,
    )
    agent.chunk(attempt, "log", b"three\n")
    agent.end(attempt, outcome=Outcome.TRAIN_END, sizes={"log": 14})
    ingest.turn(block_ms=1)
    instance = state_of(attempt)
    assert (instance.state, instance.exit_code, instance.progress) == (State.SUCCEEDED, 0, 100)
    states = [event.target for event in InstanceEvent.objects.filter(instance=instance)]
    assert states == ["queued", "assigned", "preparing", "running", "finishing", "succeeded"]
    assert log_of(attempt) == b"one\ntwo\nthree\n"
    assert OutputFile.objects.get().path == "console.log"
    assert agent.acks()[f"{attempt.instance_id}:1:log"] == "14"
    assert agent.acks()["journal"] == str(agent.seq)
    assert agent.left() == 0, "what is stored is deleted from the stream"
    assert client.xlen(LIVE_STREAM) >= 2
    attempt.refresh_from_db()
    assert attempt.first_step_at is not None
    assert not attempt.leases.filter(released_at=None).exists()


def test_the_way_to_the_first_step_is_kept(agent: Agent, ingest: Ingest, attempt: Attempt) -> None:
    began = time.time() - 60
    image = Step(name="image", began=began, ended=began + 5)
    agent.phase(attempt, Phase.ACCEPTED)
    agent.phase(attempt, Phase.PREPARING)
    model = Step(name="model", began=began + 5, done_bytes=37, total_bytes=100, detail="Qwen")
    agent.phase(attempt, Phase.PREPARING, steps=[image, model])
    ingest.turn(block_ms=1)
    attempt.refresh_from_db()
    assert [(one.name, one.percent) for one in stages_of(attempt)[2:]] == [
        ("image", None),
        ("model", 37),
    ]
    assert stages_of(attempt)[-1].seconds is None
    strange = [Step(name="mine", began=began), Step(name="data", began=-1e300)]
    whole = Step(name="model", began=began + 5, ended=began + 15, done_bytes=100, total_bytes=100)
    agent.phase(attempt, Phase.STARTING, steps=[image, whole, *strange])
    agent.phase(attempt, Phase.RUNNING)
    agent.chunk(attempt, "event", b'{"event": "plugin_loaded", "pid": 7}\n')
    agent.chunk(attempt, "metric", b'{"loss": 1.5, "global_step/max_steps": "1/20"}\n')
    ingest.turn(block_ms=1)
    attempt.refresh_from_db()
    stages = {one.name: one for one in stages_of(attempt)}
    names = ["queued", "placed", "image", "model", "imports", "first_step"]
    assert list(stages) == names
    assert (stages["image"].seconds, stages["model"].seconds) == (5.0, 10.0)
    assert all(one.seconds is not None for one in stages.values())


def test_everything_twice_changes_nothing(agent: Agent, ingest: Ingest, attempt: Attempt) -> None:
    reports = [agent.phase(attempt, Phase.ACCEPTED), agent.phase(attempt, Phase.RUNNING)]
    agent.chunk(attempt, "log", b"one\n")
    ingest.turn(block_ms=1)
    events = InstanceEvent.objects.count()
    for report in reports:
        agent.write(report)
    agent.chunk(attempt, "log", b"one\ntwo\n", start=0)
    ingest.turn(block_ms=1)
    assert InstanceEvent.objects.count() == events
    assert log_of(attempt) == b"one\ntwo\n"
    assert agent.acks()["journal"] == str(agent.seq)


def test_a_gap_in_the_log_is_asked_for_once(agent: Agent, ingest: Ingest, attempt: Attempt) -> None:
    agent.chunk(attempt, "log", b"one\n")
    agent.chunk(attempt, "log", b"three\n", start=8)
    ingest.turn(block_ms=1)
    name = f"reread:{attempt.instance_id}:1:log"
    asked = agent.acks()[name]
    assert asked.startswith("4:")
    agent.chunk(attempt, "log", b"four\n", start=14)
    ingest.turn(block_ms=1)
    assert agent.acks()[name] == asked
    agent.chunk(attempt, "log", b"two\nthree\nfour\n", start=4)
    ingest.turn(block_ms=1)
    assert log_of(attempt) == b"one\ntwo\nthree\nfour\n"


def test_a_hole_in_the_journal_holds_back_and_asks(
    agent: Agent, ingest: Ingest, attempt: Attempt
) -> None:
    agent.phase(attempt, Phase.ACCEPTED)
    lost = agent.phase(attempt, Phase.RUNNING)
    agent.client.xtrim(report_stream("n1"), maxlen=1)  # as if the first were read ...
    agent.client.flushall()
    agent.seq -= 2
    agent.phase(attempt, Phase.ACCEPTED)
    ingest.turn(block_ms=1)
    agent.seq += 1  # RUNNING is lost
    agent.end(attempt, outcome=Outcome.TRAIN_END)
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.PREPARING
    assert agent.acks()["journal"] == str(lost.end - 1)
    assert agent.acks()["reread:journal"].startswith(f"{lost.end - 1}:")
    agent.write(lost)
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.SUCCEEDED
    assert agent.acks()["journal"] == str(agent.seq)
    states = [event.target for event in InstanceEvent.objects.filter(instance=attempt.instance_id)]
    assert states[-3:] == ["running", "finishing", "succeeded"]


def test_a_hole_that_nobody_fills_is_left(
    agent: Agent, ingest: Ingest, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.phase(attempt, Phase.ACCEPTED)
    ingest.turn(block_ms=1)
    agent.seq += 3
    agent.phase(attempt, Phase.RUNNING)
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.PREPARING
    monkeypatch.setattr(store_module, "HOLE_PATIENCE_S", 0.0)
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.RUNNING
    assert agent.acks()["journal"] == str(agent.seq)


def test_a_new_agent_folder_jumps_ahead(agent: Agent, ingest: Ingest, attempt: Attempt) -> None:
    agent.phase(attempt, Phase.ACCEPTED)
    ingest.turn(block_ms=1)
    agent.seq = 1_800_000_000_000
    agent.phase(attempt, Phase.RUNNING)
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.RUNNING


def test_poison_is_put_aside_and_holds_up_nobody(
    agent: Agent, ingest: Ingest, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.chunk(attempt, "log", b"good\n")
    agent.client.xadd(report_stream("n1"), {"b": b"\xff\xff not a report"})
    agent.client.xadd(report_stream("n1"), {"x": b"no body"})
    agent.chunk(attempt, "event", b"bad\n")
    agent.phase(attempt, Phase.RUNNING)
    real = telemetry.chunks_store

    def fail(**facts: Any) -> Any:
        if facts["stream"] == "event":
            raise ValueError("cannot be stored")
        return real(**facts)

    monkeypatch.setattr(telemetry, "chunks_store", fail)
    ingest.turn(block_ms=1)
    assert log_of(attempt) == b"good\n"
    assert state_of(attempt).state == State.RUNNING
    assert DeadLetter.objects.count() == 3
    assert DeadLetter.objects.filter(error="ValueError: cannot be stored").count() == 1
    assert agent.left() == 0


def test_what_has_no_bottom_is_put_aside_and_of_that_not_without_end(
    agent: Agent, ingest: Ingest, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest_module, "DEAD_KEPT", 2)
    whole = report_pack(agent.phase(attempt, Phase.RUNNING))
    nested = bytes([whole[0] + 1]) + whole[1:] + b"\xa4more" + b"\x91" * 100_000 + b"\xc0"
    for _time in range(3):
        agent.client.xadd(report_stream("n1"), {"b": nested})
    agent.chunk(attempt, "log", b"good\n")
    ingest.turn(block_ms=1)
    assert (state_of(attempt).state, log_of(attempt)) == (State.RUNNING, b"good\n")
    errors = DeadLetter.objects.values_list("error", flat=True)
    assert [error.partition(":")[0] for error in errors] == ["RecursionError"] * 2


def test_poison_behind_a_hole_holds_up_nobody(
    agent: Agent, ingest: Ingest, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.phase(attempt, Phase.ACCEPTED)
    ingest.turn(block_ms=1)
    agent.seq += 3
    agent.phase(attempt, Phase.PREPARING, pid=2**64 - 1)  # no column holds that
    agent.phase(attempt, Phase.RUNNING)
    ingest.turn(block_ms=1)
    monkeypatch.setattr(store_module, "HOLE_PATIENCE_S", 0.0)
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.RUNNING
    assert agent.acks()["journal"] == str(agent.seq)
    ingest.turn(block_ms=1)
    assert DeadLetter.objects.count() == 1


@pytest.mark.parametrize("key", [report_stream("n1"), ack_key("n1")])
def test_a_node_that_spoils_its_own_keys_silences_itself_alone(
    agent: Agent, ingest: Ingest, attempt: Attempt, client: "redis.Redis", key: str
) -> None:
    other = Agent(client=client, node=OnlineNodeFactory.create(name="n2"))
    ingest.turn(block_ms=1)
    agent.chunk(attempt, "log", b"good\n")
    client.delete(key)
    client.set(key, "x")
    other.beat(boot_id="b2")
    for _time in range(3):
        ingest.turn(block_ms=1)
    assert Node.objects.get(pk=other.node.pk).boot_id == "b2"
    assert client.type(key) != b"string"
    ingest._spoilt.clear()  # later
    ingest._recover = True
    agent.chunk(attempt, "log", b"good\n", start=0)
    ingest.turn(block_ms=1)
    assert (log_of(attempt), agent.acks()[f"{attempt.instance_id}:1:log"]) == (b"good\n", "5")


def test_a_node_speaks_for_its_own_attempts_only(
    client: "redis.Redis", ingest: Ingest, attempt: Attempt
) -> None:
    other = Agent(client=client, node=OnlineNodeFactory.create(name="n2"))
    other.chunk(attempt, "log", b"forged\n")
    other.end(attempt, outcome=Outcome.TRAIN_END)
    report = other.phase(attempt, Phase.RUNNING)
    client.xadd(report_stream("n1"), {"b": report_pack(report)})
    ingest.turn(block_ms=1)
    assert log_of(attempt) == b""
    assert state_of(attempt).state == State.ASSIGNED
    assert DeadLetter.objects.get().node == "n1"


def test_a_reading_reaches_the_jobs_of_its_own_node_only(
    agent: Agent, ingest: Ingest, attempt: Attempt, client: "redis.Redis"
) -> None:
    host = HostSample(
        cpu_percent=1, memory_used_bytes=1, memory_total_bytes=2, disk_free_bytes=3, disk_total_bytes=4
    )  # fmt: skip
    jobs = [
        JobSample(instance=pk, attempt=1, cpu_percent=5, memory_bytes=7, processes=1)
        for pk in (attempt.instance_id, 999_999)
    ]
    other = Agent(client, OnlineNodeFactory.create(name="n2"))
    for one in (other, agent, agent, other):  # before it is remembered, and after
        body = NodeSample(host=host, jobs=jobs)
        one.write(Report(node=one.node.name, stream="sample", body=body, at=time.time()))
    ingest.turn(block_ms=1)
    assert Sample.objects.filter(node=agent.node).count() == 2
    frames: Any = client.xrange(LIVE_STREAM)
    topics = [fields[b"t"] for _id, fields in frames]
    assert topics.count(f"job:{attempt.instance_id}".encode()) == 2


def test_flushall_is_survived(
    agent: Agent, ingest: Ingest, attempt: Attempt, client: "redis.Redis"
) -> None:
    agent.phase(attempt, Phase.ACCEPTED)
    ingest.turn(block_ms=1)
    client.flushall()
    agent.phase(attempt, Phase.RUNNING)
    ingest.turn(block_ms=1)  # finds that the group is gone, makes it anew from 0
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.RUNNING
    assert agent.acks()["journal"] == str(agent.seq)


def test_a_database_outage_loses_nothing(
    agent: Agent, attempt: Attempt, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    stopping = threading.Event()
    ingest = Ingest(stopping, client=client)
    agent.chunk(attempt, "log", b"one\n")
    real = store_module.Store.batch_store
    calls = []

    def away(self: Any, entries: Any) -> Any:
        calls.append(len(entries))
        if len(calls) == 1:
            raise OperationalError("database is locked")
        stopping.set()
        return real(self, entries)

    monkeypatch.setattr(store_module.Store, "batch_store", away)
    monkeypatch.setattr(ingest_module, "close_old_connections", lambda: None)
    monkeypatch.setattr(connection, "close", lambda: None)
    ingest.run()
    assert log_of(attempt) == b"one\n"
    assert DeadLetter.objects.count() == 0
    assert agent.left() == 0


def test_what_a_dead_reader_of_this_host_held_is_taken_over_at_once(
    agent: Agent, attempt: Attempt, client: "redis.Redis"
) -> None:
    agent.chunk(attempt, "log", b"one\n")
    stream = report_stream("n1")
    client.xgroup_create(stream, GROUP, id="0")
    host = ingest_module.consumer_name().rpartition("-")[0]
    client.xreadgroup(GROUP, f"{host}-999999999", {stream: ">"})
    Ingest(threading.Event(), client=client).turn(block_ms=1)
    assert log_of(attempt) == b"one\n"
    assert client.xpending(stream, GROUP)["pending"] == 0


def test_what_another_reader_has_had_for_long_is_claimed(
    agent: Agent,
    ingest: Ingest,
    attempt: Attempt,
    client: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    agent.chunk(attempt, "log", b"one\n")
    stream = report_stream("n1")
    client.xgroup_create(stream, GROUP, id="0")
    client.xreadgroup(GROUP, "elsewhere-1", {stream: ">"})
    monkeypatch.setattr(ingest_module, "CLAIM_IDLE_MS", 0)
    ingest.turn(block_ms=1)
    assert log_of(attempt) == b"one\n"


def test_a_node_added_later_is_read_without_a_restart(
    ingest: Ingest, attempt: Attempt, client: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest.turn(block_ms=1)
    late = Agent(client=client, node=OnlineNodeFactory.create(name="n9", state=NodeState.NEW))
    late.beat()
    monkeypatch.setattr(ingest_module, "NODES_EVERY_S", 0.0)
    ingest._due.clear()
    ingest.turn(block_ms=1)
    assert Node.objects.get(name="n9").seen_at is not None


def test_an_end_with_missing_bytes_asks_for_them(
    agent: Agent, ingest: Ingest, attempt: Attempt
) -> None:
    agent.phase(attempt, Phase.RUNNING)
    agent.chunk(attempt, "log", b"one\n")
    agent.end(attempt, outcome=Outcome.TRAIN_END, sizes={"log": 9, "metric": 0})
    ingest.turn(block_ms=1)
    assert agent.acks()[f"reread:{attempt.instance_id}:1:log"].startswith("4:")
    assert f"reread:{attempt.instance_id}:1:metric" not in agent.acks()


def test_bytes_for_what_was_deleted_are_acknowledged(
    agent: Agent, ingest: Ingest, attempt: Attempt
) -> None:
    agent.chunk(attempt, "log", b"one\n")
    attempt.instance.delete()
    ingest.turn(block_ms=1)
    assert agent.acks()[f"{attempt.instance_id}:1:log"] == "4"
    assert StreamPosition.objects.count() == 0


def test_an_old_attempt_changes_only_itself(
    agent: Agent, ingest: Ingest, attempt: Attempt, node: Node
) -> None:
    agent.phase(attempt, Phase.RUNNING)
    agent.end(attempt, exit_code=1)
    ingest.turn(block_ms=1)
    instance = state_of(attempt)
    assert instance.state == State.FAILED
    instance_queue(actor=instance.owner, instance=instance)
    instance_assign(instance=state_of(attempt), node=node, devices=["cpu-1"])
    agent.phase(attempt, Phase.ENDED, exit_code=0, outcome=Outcome.TRAIN_END)
    ingest.turn(block_ms=1)
    assert state_of(attempt).state == State.ASSIGNED
    assert JournalPosition.objects.get(node=node).seq == agent.seq


@pytest.mark.parametrize("step", ["1" + "0" * 30, "-5", "true", "1e999", '"7"'])
def test_a_trainer_s_nonsense_does_not_keep_its_job_from_ending(
    agent: Agent, ingest: Ingest, attempt: Attempt, step: str
) -> None:
    """A job writes what it likes into its own files; its device must come free all the same."""
    agent.phase(attempt, Phase.RUNNING)
    line = f'{{"loss": 1{"0" * 400}, "remaining_time": "{"9" * 30}d", "global_step": {step}}}\n'
    agent.chunk(attempt, "metric", line.encode())
    event = f'{{"event": "stopped", "checkpoint": "checkpoint-1", "step": {step}}}\n'
    agent.chunk(attempt, "event", event.encode())
    Attempt.objects.filter(pk=attempt.pk).update(stop_requested="save")
    file = File(path="output/a", size_bytes=1, sha256="0" * 64, modified_at=4.6e9)
    late = File(path="output/b", size_bytes=1, sha256="0" * 64, modified_at=1e30)
    agent.phase(attempt, Phase.FINISHING, exit_code=0)
    agent.journal(attempt, Files(files=[file, late], complete=True))
    agent.phase(attempt, Phase.ENDED, exit_code=0, outcome=Outcome.STOPPED)
    ingest.turn(block_ms=1)
    assert not DeadLetter.objects.exists()
    instance = state_of(attempt)
    assert (instance.state, instance.saved_step) == (State.STOPPED, None)
    assert not attempt.leases.filter(released_at=None).exists()
    assert OutputFile.objects.count() == 2


def test_a_clock_of_redis_that_is_off_makes_no_node_silent(
    agent: Agent, ingest: Ingest, node: Node, client: "redis.Redis"
) -> None:
    """Entries are dated by Redis; how old one is, is asked of the same clock."""
    off_s = 7200

    class Ahead:
        def time(self) -> tuple[int, int]:
            seconds, microseconds = client.time()
            return seconds + off_s, microseconds

        def __getattr__(self, name: str) -> Any:
            return getattr(client, name)

    ahead: Any = Ahead()
    ingest._redis = ahead
    Node.objects.update(state=NodeState.OFFLINE, seen_at=None)
    ms = (client.time()[0] - off_s) * 1000
    for number, shift_ms in enumerate((off_s * 1000, 2 * off_s * 1000)):
        # an old one by that clock, then a fresh one
        body = Heartbeat(boot_id="boot", agent_version="1", held=[])
        report = Report(node="n1", stream="heartbeat", body=body, at=0.0)
        client.xadd(report_stream("n1"), {"b": report_pack(report)}, id=f"{ms + shift_ms}-1")
        ingest.turn(block_ms=1)
        node.refresh_from_db()
        assert (node.seen_at is not None) == bool(number)
    assert node.state == NodeState.ONLINE


@pytest.mark.parametrize("off_s", [7200, -7200])
def test_a_node_whose_clock_is_off_by_hours_changes_no_time(
    agent: Agent, ingest: Ingest, attempt: Attempt, monkeypatch: pytest.MonkeyPatch, off_s: float
) -> None:
    began = timezone.now() - timedelta(seconds=5)
    real = time.time
    with monkeypatch.context() as patch:
        patch.setattr("tests.control.gateway.conftest.time.time", lambda: real() + off_s)
        agent.phase(attempt, Phase.ACCEPTED)
        agent.phase(attempt, Phase.RUNNING, pid=77)
        agent.end(attempt, outcome=Outcome.TRAIN_END)
    ingest.turn(block_ms=1)
    attempt.refresh_from_db()
    for moment in (attempt.preparing_at, attempt.running_at, attempt.ended_at):
        assert moment is not None
        assert began < moment < timezone.now() + timedelta(seconds=5)


def test_an_agent_that_another_has_replaced_is_told_to_end_and_not_listened_to(
    agent: Agent, ingest: Ingest, node: Node, attempt: Attempt
) -> None:
    """It was cut off while the other joined; its empty inventory would take the jobs of the other away."""
    Node.objects.update(agent_id="new", seen_at=None)
    agent.beat(agent_id="old")
    ingest.turn(block_ms=1)
    node.refresh_from_db()
    assert node.seen_at is None
    assert agent.acks()[ACK_AGENT].startswith("new:")
    agent.beat(agent_id="new")
    ingest.turn(block_ms=1)
    node.refresh_from_db()
    assert node.seen_at is not None


def test_an_agent_that_joined_a_moment_ago_is_not_taken_for_another(
    agent: Agent, ingest: Ingest, node: Node
) -> None:
    Node.objects.update(agent_id="old", seen_at=None)
    ingest.turn(block_ms=1)  # which remembers the nodes for a second
    Node.objects.update(agent_id="new")
    agent.beat(agent_id="new")
    ingest.turn(block_ms=1)
    node.refresh_from_db()
    assert node.seen_at is not None
    assert ACK_AGENT not in agent.acks()
