"""Live frames are relied on from outside: tests/contract/golden/frames holds one of each, byte for byte."""

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.instances.frames import status_frame
from loraforge.instances.models import Attempt
from loraforge.notifications.models import Notification
from loraforge.notifications.selectors import notice_frame
from loraforge.telemetry import readings, services
from loraforge.telemetry.pieces import Piece
from nodeagent.contract.reports import GpuSample, HostSample, JobSample
from nodeagent.contract.reports import Sample as NodeSample
from tests.factories.telemetry import AttemptFactory

pytestmark = pytest.mark.django_db

GOLDEN = Path(__file__).parents[2] / "contract" / "golden" / "frames"
AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
METRIC = (
    b'{"loss": 1.25, "grad_norm": NaN, "learning_rate": 0.0001, "epoch": 0.5,'
    b' "global_step/max_steps": "5/20", "remaining_time": "2h 15m 3s"}\n'
)


@pytest.fixture
def attempt(alice: User) -> Attempt:
    row: Attempt = AttemptFactory.create(
        instance__pk=41,
        instance__owner=alice,
        instance__name="faq",
        node__name="n1",
        devices=["GPU-8f6d"],
    )
    return row


def check(name: str, frame: dict[str, Any]) -> None:
    """`UPDATE_GOLDEN=1` writes the file anew; look at the difference before you commit it."""
    path = GOLDEN / f"{name}.json"
    plain = msgspec.json.decode(msgspec.json.encode(frame))
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_bytes(msgspec.json.format(msgspec.json.encode(plain), indent=2) + b"\n")
    assert plain == msgspec.json.decode(path.read_bytes())


def test_log(attempt: Attempt) -> None:
    data = b"Map: 100%\n{'loss': '1.25'}\nTrain: 10%\rTrain: 25%"
    stored = services.chunk_store(attempt=attempt, stream="log", start=0, end=len(data), data=data)
    ((_topic, frame),) = stored.frames
    check("log", frame)


def test_log_with_lines_left_out(attempt: Attempt) -> None:
    gap = Piece(0, 700, b"", left_out=50)
    stored = services.chunks_store(attempt=attempt, stream="log", pieces=[gap])
    ((_topic, frame),) = stored.frames
    check("log_left_out", frame)


def test_metric_and_the_status_that_follows(
    attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timezone, "now", lambda: AT)
    stored = services.chunk_store(
        attempt=attempt, stream="metric", start=0, end=len(METRIC), data=METRIC
    )
    check("metric", stored.frames[0][1])
    attempt.instance.refresh_from_db()
    check("train_status", status_frame(attempt.instance, gpu_utilization=92.0))


def test_gpu_of_a_node_and_of_a_job(attempt: Attempt) -> None:
    sample = NodeSample(
        host=HostSample(
            cpu_percent=12.5, memory_used_bytes=8_000_000_000, memory_total_bytes=64_000_000_000,
            disk_free_bytes=500_000_000_000, disk_total_bytes=1_000_000_000_000, load_1m=1.5,
        ),
        gpus=[
            GpuSample(
                uuid="GPU-8f6d", utilization_percent=92.0, memory_used_bytes=20_000_000_000,
                memory_total_bytes=80_000_000_000, temperature_c=66.0, power_w=310.5,
            ),
            GpuSample(uuid="GPU-0a1b"),
        ],
        jobs=[JobSample(instance=41, attempt=1, cpu_percent=180.0, memory_bytes=9_000_000_000, processes=12)],
    )  # fmt: skip
    (_nodes, of_node), (_job, of_job) = services.samples_store(
        [readings.Reading(node=attempt.node, sample=sample, at=AT, attempts=[attempt])]
    )
    check("gpu_node", of_node)
    check("gpu_job", of_job)


def test_notice(attempt: Attempt, alice: User) -> None:
    row = Notification(
        pk=7, user=alice, instance=attempt.instance, what="succeeded",
        values={"number": 41, "name": "faq", "node": "n1"}, created_at=AT,
    )  # fmt: skip
    check("notice", notice_frame(row))
