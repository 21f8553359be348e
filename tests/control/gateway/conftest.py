"""A node with a job on it, and reports as its agent would write them."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from kombu import pools

from loraforge.core import redis as core_redis
from loraforge.core.celery import app, broker_url
from loraforge.gateway.ingest import Ingest
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.services import instance_assign, instance_queue
from loraforge.nodes.models import Node
from nodeagent.contract.channels import ack_key, report_stream
from nodeagent.contract.phases import Outcome, Phase
from nodeagent.contract.reports import (
    Chunk,
    CommandResult,
    File,
    Files,
    Heartbeat,
    Held,
    PhaseChange,
    Report,
    report_pack,
)
from tests.factories.training import JobFactory, OnlineNodeFactory


@pytest.fixture
def client(redis_url: str) -> Iterator["redis.Redis"]:
    connection = redis.Redis.from_url(redis_url)
    yield connection
    connection.close()


@pytest.fixture
def broker(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """The control plane speaks to the private Redis."""
    monkeypatch.setattr(django_settings, "REDIS_URL", redis_url)
    core_redis.connection.cache_clear()
    broker_use(broker_url(redis_url))
    return redis_url


def broker_use(url: str) -> None:
    """Celery keeps its connections in pools of the process: have it make new ones, to this broker."""
    app.conf.update(broker_url=url, broker_write_url=url, broker_read_url=url)
    pools.reset()
    celery: Any = app
    celery._pool = None
    celery.amqp._producer_pool = None


@dataclass
class Agent:
    """Writes reports of one node as its agent would."""

    client: "redis.Redis"
    node: Node
    seq: int = 1000
    sent: dict[tuple[int, int, str], int] = field(default_factory=dict)

    def write(self, report: Report) -> None:
        self.client.xadd(report_stream(self.node.name), {"b": report_pack(report)})

    def chunk(
        self, attempt: Attempt, stream: Any, data: bytes, *, start: int | None = None
    ) -> None:
        key = (attempt.instance_id, attempt.number, stream)
        begin = self.sent.get(key, 0) if start is None else start
        self.sent[key] = begin + len(data)
        self.write(
            Report(
                node=self.node.name, stream=stream, body=Chunk(data=data), instance=attempt.instance_id,
                attempt=attempt.number, start=begin, end=begin + len(data), at=time.time(),
            )
        )  # fmt: skip

    def journal(
        self, attempt: Attempt, body: Any, *, seq: int | None = None, send: bool = True
    ) -> Report:
        if seq is None:
            self.seq += 1
        number = self.seq if seq is None else seq
        stream: Any = {"PhaseChange": "phase", "CommandResult": "result", "Files": "files"}[
            type(body).__name__
        ]
        report = Report(
            node=self.node.name, stream=stream, body=body, instance=attempt.instance_id, attempt=attempt.number,
            start=number - 1, end=number, at=time.time(),
        )  # fmt: skip
        if send:
            self.write(report)
        return report

    def phase(self, attempt: Attempt, phase: Phase, **facts: Any) -> Report:
        return self.journal(attempt, PhaseChange(phase=phase, **facts))

    def end(
        self,
        attempt: Attempt,
        *,
        exit_code: int | None = 0,
        outcome: Outcome = Outcome.NONE,
        **facts: Any,
    ) -> None:
        file = File(path="console.log", size_bytes=1, sha256="0" * 64, modified_at=1.0)
        self.phase(attempt, Phase.FINISHING, exit_code=exit_code, **facts)
        self.journal(attempt, Files(files=[file], complete=True))
        self.phase(attempt, Phase.ENDED, exit_code=exit_code, outcome=outcome, **facts)

    def result(self, attempt: Attempt, command: str, **facts: Any) -> None:
        self.journal(attempt, CommandResult(command=command, **facts))

    def beat(
        self,
        *held: Held,
        boot_id: str = "boot",
        unknown: tuple[str, ...] = (),
        agent_id: str = "",
    ) -> None:
        body = Heartbeat(
            boot_id=boot_id,
            agent_version="1",
            held=list(held),
            unknown=list(unknown),
            agent_id=agent_id,
        )
        self.write(Report(node=self.node.name, stream="heartbeat", body=body, at=time.time()))

    def acks(self) -> dict[str, str]:
        fields: Any = self.client.hgetall(ack_key(self.node.name))
        return {key.decode(): value.decode() for key, value in fields.items()}

    def left(self) -> int:
        return int(self.client.xlen(report_stream(self.node.name)))


@pytest.fixture
def node(db: None) -> Node:
    created: Node = OnlineNodeFactory.create(name="n1", cpu_slots=2)
    return created


@pytest.fixture
def attempt(node: Node) -> Attempt:
    """An assigned job."""
    job = JobFactory.create()
    instance: Instance = job.instance
    instance_queue(actor=instance.owner, instance=instance)
    return instance_assign(instance=instance, node=node, devices=["cpu-0"])


@pytest.fixture
def agent(client: "redis.Redis", node: Node) -> Agent:
    return Agent(client=client, node=node)


@pytest.fixture
def ingest(client: "redis.Redis", db: None) -> Ingest:
    return Ingest(threading.Event(), client=client)


def state_of(attempt: Attempt) -> Instance:
    """The attempt's instance as it is now."""
    return Instance.objects.get(pk=attempt.instance_id)
