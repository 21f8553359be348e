"""Storing by position: what was stored reads back the same, however it came."""

from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries

from loraforge.instances.models import Attempt
from loraforge.telemetry import readings, selectors, services
from loraforge.telemetry.compacting import log_compact
from loraforge.telemetry.models import LogChunk, MetricRow, Sample, StreamPosition, TrainerEvent
from loraforge.telemetry.policy import START, Cursor
from nodeagent.contract.normalise import normalise
from nodeagent.contract.reports import GpuSample, HostSample, JobSample
from nodeagent.contract.reports import Sample as NodeSample
from tests.factories.telemetry import AttemptFactory, pieces_of

pytestmark = pytest.mark.django_db

CONSOLE = st.lists(
    st.sampled_from(
        [b"line\n", b"\r 10%", b"\r 20%", b"\n", b"\xe4\xb8\xad", b"\x00", b"\xff", b"z" * 40_000]
    )
).map(b"".join)


@pytest.fixture
def attempt() -> Attempt:
    row: Attempt = AttemptFactory.create()
    return row


def followed(attempt: Attempt, limit: int = 7) -> list[str]:
    """All lines, page by page."""
    lines: list[str] = []
    cursor, more = START, True
    while more:
        page = selectors.log_lines(instance=attempt.instance, after=cursor, limit=limit)
        assert len(page.lines) <= limit
        lines += page.lines
        cursor, more = page.next, page.more
    return lines


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=CONSOLE, cuts=st.lists(st.integers(0, 200_000), max_size=6), forget=st.booleans())
def test_the_log_is_byte_identical_and_followed_to_the_end_it_is_normalised(
    attempt: Attempt, data: bytes, cuts: list[int], forget: bool
) -> None:
    attempt = AttemptFactory.create()
    live: list[str] = []
    ends = [0]
    frames = []
    for piece in pieces_of(data, cuts):
        if forget:
            services._open_lines.clear()  # as after a restart of ingest
        stored = services.chunk_store(attempt=attempt, stream="log", **piece._asdict())
        assert (stored.committed_end, stored.gap) == (piece.end, False)
        frames += stored.frames
    frames += services.stream_sizes_store(attempt=attempt, sizes={"log": len(data)})
    for topic, frame in frames:
        assert topic == f"job:{attempt.instance_id}"
        live += frame["lines"]
        ends += [frame["from"], frame["to"]]
    assert all(one <= other for one, other in pairwise(ends))
    assert b"".join(selectors.log_bytes(attempt=attempt)) == data
    assert followed(attempt) == live == normalise(data)
    log_compact(attempt=attempt)
    assert followed(attempt) == live
    tail = selectors.log_tail(instance=attempt.instance, lines=3)
    assert tail.lines == live[-3:]
    assert tail.more == (len(live) > 3)


def test_the_tail_goes_back_page_by_page(attempt: Attempt) -> None:
    data = b"".join(b"line %d\n" % number for number in range(1000))
    for piece in pieces_of(data, range(0, len(data), 97)):
        services.chunk_store(attempt=attempt, stream="log", **piece._asdict())
    page = selectors.log_tail(instance=attempt.instance, lines=30)
    lines = page.lines
    while page.more:
        before = Cursor(page.attempt, page.start)
        page = selectors.log_tail(instance=attempt.instance, lines=30, before=before)
        assert page.end == before.position
        lines = page.lines + lines
    assert lines == normalise(data)


def test_overlap_is_trimmed_and_a_gap_is_reported_not_stored(attempt: Attempt) -> None:
    def store(start: int, data: bytes) -> services.Stored:
        return services.chunk_store(
            attempt=attempt, stream="log", start=start, end=start + len(data), data=data
        )

    assert store(0, b"one\ntw").committed_end == 6
    again = store(0, b"one\ntw")
    assert (again.committed_end, again.frames) == (6, [])
    gap = store(9, b"three\n")
    assert (gap.committed_end, gap.gap, gap.frames) == (6, True, [])
    over = store(4, b"two\nthree\n")
    assert (over.committed_end, over.gap) == (14, False)
    assert b"".join(selectors.log_bytes(attempt=attempt)) == b"one\ntwo\nthree\n"


def test_a_piece_of_the_wrong_length_is_refused(attempt: Attempt) -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        services.chunk_store(attempt=attempt, stream="log", start=0, end=3, data=b"four")


def test_an_unfinished_line_is_partial_until_nothing_can_follow(attempt: Attempt) -> None:
    stored = services.chunk_store(
        attempt=attempt, stream="log", start=0, end=9, data=b"a\n 1%\r 2%"
    )
    (_topic, frame) = stored.frames[0]
    assert (frame["lines"], frame["from"], frame["to"], frame["partial"]) == (["a"], 0, 2, " 2%")
    page = selectors.log_lines(instance=attempt.instance, after=START)
    assert (page.lines, page.partial, str(page.next)) == (["a"], " 2%", "1:2")
    ((_topic, frame),) = services.stream_sizes_store(attempt=attempt, sizes={"log": 9})
    assert (frame["lines"], frame["from"], frame["to"]) == ([" 2%"], 2, 9)
    page = selectors.log_lines(instance=attempt.instance, after=page.next)
    assert (page.lines, page.partial, str(page.next)) == ([" 2%"], "", "1:9")
    assert services.streams_are_whole(attempt=attempt)


def test_the_log_goes_on_with_the_next_attempt(attempt: Attempt) -> None:
    services.chunk_store(attempt=attempt, stream="log", start=0, end=5, data=b"a\nend")
    later = AttemptFactory.create(instance=attempt.instance, node=attempt.node, number=2)
    services.chunk_store(attempt=later, stream="log", start=0, end=2, data=b"b\n")
    assert followed(attempt, limit=1) == ["a", "end", "b"]


METRICS = (
    b'{"loss": 5.8, "global_step/max_steps": "5/23", "remaining_time": "2m 3s"}\n'
    b'{"loss": NaN, "global_step/max_steps": "10/23"}\n'
    b"{broken\n"
)


def test_metric_rows_are_stored_once_and_move_the_progress(attempt: Attempt) -> None:
    stored = services.chunk_store(
        attempt=attempt, stream="metric", start=0, end=len(METRICS), data=METRICS
    )
    assert stored.unreadable == 1
    assert (
        services.chunk_store(
            attempt=attempt, stream="metric", start=0, end=len(METRICS), data=METRICS
        ).frames
        == []
    )
    assert list(MetricRow.objects.values_list("step", flat=True)) == [5, 10, None]
    (topic, frame), (status_topic, status), (owner_topic, _same) = stored.frames
    assert topic == status_topic == f"job:{attempt.instance_id}"
    assert owner_topic == f"user:{attempt.instance.owner_id}"
    assert (frame["from"], frame["to"], len(frame["rows"])) == (0, len(METRICS), 3)
    assert frame["rows"] == selectors.metric_rows(instance=attempt.instance, after=START).rows
    assert status["data"] == {
        "status": "running", "progress": 43, "step": 10, "maxSteps": 23, "loss": 5.8,
        "gpuUtilization": None, "eta": "2m", "etaSeconds": 123,
    }  # fmt: skip
    attempt.refresh_from_db()
    assert attempt.first_step_at is not None


def test_a_late_row_of_an_earlier_attempt_moves_nothing(attempt: Attempt) -> None:
    AttemptFactory.create(instance=attempt.instance, node=attempt.node, number=2)
    attempt.instance.attempt = 2
    attempt.instance.save()
    stored = services.chunk_store(
        attempt=attempt, stream="metric", start=0, end=len(METRICS), data=METRICS
    )
    assert [frame["type"] for _topic, frame in stored.frames] == ["metric"]
    attempt.instance.refresh_from_db()
    assert attempt.instance.step == 0


def test_rows_are_paged_and_a_resumed_training_is_one_curve(attempt: Attempt) -> None:
    later = AttemptFactory.create(instance=attempt.instance, node=attempt.node, number=2)
    for row, steps, loss in ((attempt, range(1, 8), 1.0), (later, range(6, 10), 2.0)):
        data = "".join(
            f'{{"loss": {loss}, "global_step/max_steps": "{step}/9"}}\n' for step in steps
        ).encode()
        services.chunk_store(attempt=row, stream="metric", start=0, end=len(data), data=data)
    series, last = selectors.metric_chart(instance=attempt.instance)
    assert [point.step for point in series["loss"]] == list(range(1, 10))
    assert [point.value for point in series["loss"]] == [1.0] * 5 + [2.0] * 4
    rows, cursor, more = [], START, True
    while more:
        page = selectors.metric_rows(instance=attempt.instance, after=cursor, limit=3)
        rows += page.rows
        cursor, more = page.next, page.more
    assert [(row["attempt"], row["step"]) for row in rows] == [
        *((1, step) for step in range(1, 8)), *((2, step) for step in range(6, 10)),
    ]  # fmt: skip
    assert cursor == last


def test_events_are_handed_on(attempt: Attempt) -> None:
    data = b'{"event": "checkpoint", "step": 5, "path": "/lf/job/output/checkpoint-5"}\n'
    stored = services.chunk_store(
        attempt=attempt, stream="event", start=0, end=len(data), data=data
    )
    assert [event.name for event in stored.events] == ["checkpoint"]
    assert TrainerEvent.objects.get().values["step"] == 5


def test_many_pieces_cost_few_queries(attempt: Attempt, django_assert_max_num_queries) -> None:  # type: ignore[no-untyped-def]
    data = b"some line of a log\n" * 5000
    pieces = list(pieces_of(data, range(0, len(data), 999)))
    with django_assert_max_num_queries(8):
        stored = services.chunks_store(attempt=attempt, stream="log", pieces=pieces)
    assert stored.committed_end == len(data)
    assert LogChunk.objects.count() == 1


def test_what_follows_costs_two_statements(
    attempt: Attempt, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """Somebody waits for each line: the position is moved without being read."""
    services.chunk_store(attempt=attempt, stream="log", start=0, end=2, data=b"a\n")
    with django_assert_num_queries(2):
        stored = services.chunk_store(attempt=attempt, stream="log", start=2, end=4, data=b"b\n")
    assert (stored.committed_end, stored.gap) == (4, False)
    assert b"".join(selectors.log_bytes(attempt=attempt)) == b"a\nb\n"


def test_an_end_that_was_rolled_back_is_not_believed(attempt: Attempt) -> None:
    services.chunk_store(attempt=attempt, stream="event", start=0, end=3, data=b"{}\n")
    with transaction.atomic():
        services.chunk_store(attempt=attempt, stream="event", start=3, end=6, data=b"{}\n")
        transaction.set_rollback(True)
    late = services.chunk_store(attempt=attempt, stream="event", start=6, end=9, data=b"{}\n")
    assert (late.committed_end, late.gap) == (3, True)
    again = services.chunk_store(attempt=attempt, stream="event", start=3, end=9, data=b"{}\n{}\n")
    assert (again.committed_end, again.gap) == (9, False)
    assert list(TrainerEvent.objects.values_list("start", flat=True)) == [0, 3, 6]


def test_an_end_that_another_process_moved_is_read(attempt: Attempt) -> None:
    services.chunk_store(attempt=attempt, stream="event", start=0, end=3, data=b"{}\n")
    StreamPosition.objects.update(end=6)
    stored = services.chunk_store(attempt=attempt, stream="event", start=3, end=9, data=b"{}\n{}\n")
    assert stored.committed_end == 9
    assert list(TrainerEvent.objects.values_list("start", flat=True)) == [0, 6]


def test_compaction_merges_and_is_idempotent(attempt: Attempt) -> None:
    data = bytes(range(256)) * 10_000
    for piece in pieces_of(data, range(0, len(data), 50_000)):
        services.chunk_store(attempt=attempt, stream="log", **piece._asdict())
    assert log_compact(attempt=attempt) > 0
    assert b"".join(selectors.log_bytes(attempt=attempt)) == data
    assert LogChunk.objects.count() <= 4
    assert log_compact(attempt=attempt) == 0
    assert (
        b"".join(selectors.log_bytes(attempt=attempt, start=1000, stop=2_000_000))
        == data[1000:2_000_000]
    )
    assert sum(LogChunk.objects.values_list("newlines", flat=True)) == data.count(b"\n")


def node_sample(attempt: Attempt) -> NodeSample:
    """A reading with two cards and two jobs, one of them of another node."""
    gpus = [GpuSample(uuid=f"GPU-{number}", utilization_percent=90.0 + number) for number in (1, 2)]
    job = JobSample(
        instance=attempt.instance_id, attempt=1, cpu_percent=50, memory_bytes=7, processes=2
    )
    foreign = JobSample(instance=9_999, attempt=1, cpu_percent=50, memory_bytes=7, processes=2)
    host = HostSample(
        cpu_percent=12.5,
        memory_used_bytes=1,
        memory_total_bytes=2,
        disk_free_bytes=3,
        disk_total_bytes=4,
    )
    return NodeSample(host=host, gpus=gpus, jobs=[job, foreign])


def test_a_sample_goes_to_the_nodes_and_to_its_jobs(attempt: Attempt) -> None:
    now = timezone.now()
    frames = services.samples_store(
        [
            readings.Reading(
                node=attempt.node, sample=node_sample(attempt), at=now, attempts=[attempt]
            )
        ]
    )
    (nodes_topic, nodes), (job_topic, job) = frames
    assert (nodes_topic, job_topic) == ("nodes", f"job:{attempt.instance_id}")
    assert "jobs" not in nodes["rows"][0]
    assert [gpu["uuid"] for gpu in nodes["rows"][0]["gpus"]] == ["GPU-1", "GPU-2"]
    assert [gpu["uuid"] for gpu in job["rows"][0]["gpus"]] == ["GPU-1"]
    assert job["rows"][0]["job"]["memory_bytes"] == 7
    assert selectors.status_get(instance_id=attempt.instance_id)["data"]["gpuUtilization"] == 91.0
    assert readings.sample_list(instance=attempt.instance) == job["rows"]


def test_old_samples_thin_out(attempt: Attempt) -> None:
    now = timezone.now().replace(second=30, microsecond=0)

    def ages() -> Iterator[timedelta]:
        for minute in (10, 90, 91):
            yield from (timedelta(minutes=minute, seconds=second) for second in range(0, 20, 2))
        yield timedelta(days=8)

    Sample.objects.bulk_create(Sample(node=attempt.node, at=now - age, values={}) for age in ages())
    services.samples_thin(now=now)
    kept = [now - at for at in Sample.objects.values_list("at", flat=True)]
    assert sum(age < timedelta(hours=1) for age in kept) == 10
    assert sum(age > timedelta(hours=1) for age in kept) == 2
    assert services.samples_thin(now=now) == 0
