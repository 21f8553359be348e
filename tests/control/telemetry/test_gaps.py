"""Lines that the rate caps left out: counted, in their place, and never in the way of what is stored."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from loraforge.accounts.models import User
from loraforge.instances.models import Attempt
from loraforge.telemetry import gaps, selectors, services
from loraforge.telemetry.compacting import log_compact
from loraforge.telemetry.models import LogGap
from loraforge.telemetry.pieces import Piece
from loraforge.telemetry.policy import START, Cursor
from nodeagent.contract.normalise import normalise
from tests.control.conftest import ClientOf
from tests.factories.telemetry import AttemptFactory

pytestmark = pytest.mark.django_db

LINES = st.lists(st.sampled_from([b"one\n", b"two\r 2\n", b"\n", b"z" * 300 + b"\n"]), max_size=8)
# Alternately what is sent and what is left out
PARTS = st.lists(st.tuples(LINES, LINES), max_size=6)


def pieces_of(parts: list[tuple[list[bytes], list[bytes]]]) -> list[Piece]:
    pieces: list[Piece] = []
    at = 0
    for sent, left in parts:
        for lines, is_left in ((sent, False), (left, True)):
            data = b"".join(lines)
            if data:
                end = at + len(data)
                pieces.append(Piece(at, end, b"", len(lines)) if is_left else Piece(at, end, data))
                at = end
    return pieces


def told(pieces: list[Piece]) -> list[Any]:
    """What a reader should see: texts of lines, and numbers where lines were left out."""
    seen: list[Any] = []
    for piece in pieces:
        seen += normalise(piece.data) if piece.left_out is None else [piece.left_out]
    return seen


def forward(attempt: Attempt, limit: int) -> list[Any]:
    seen: list[Any] = []
    cursor, more = START, True
    while more:
        page = selectors.log_lines(instance=attempt.instance, after=cursor, limit=limit)
        assert not (page.lines and page.left_out)
        assert page.next.position > cursor.position or not page.more
        seen += [page.left_out] if page.left_out else page.lines
        cursor, more = page.next, page.more
    return seen


def backward(attempt: Attempt, lines: int) -> list[Any]:
    page = selectors.log_tail(instance=attempt.instance, lines=lines)
    seen = [page.left_out] if page.left_out else list(page.lines)
    while page.more:
        before = Cursor(page.attempt, page.start)
        page = selectors.log_tail(instance=attempt.instance, lines=lines, before=before)
        assert page.end == before.position
        seen = [*([page.left_out] if page.left_out else page.lines), *seen]
    return seen


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(parts=PARTS, at_once=st.booleans(), limit=st.integers(1, 9))
def test_every_reader_sees_lines_and_gaps_in_their_places(
    parts: list[tuple[list[bytes], list[bytes]]], at_once: bool, limit: int
) -> None:
    attempt: Attempt = AttemptFactory.create()
    pieces = pieces_of(parts)
    size = pieces[-1].end if pieces else 0
    live: list[Any] = []
    for some in [pieces] if at_once else [[piece] for piece in pieces]:
        stored = services.chunks_store(attempt=attempt, stream="log", pieces=some)
        again = services.chunks_store(attempt=attempt, stream="log", pieces=some)
        assert (again.committed_end, again.frames, again.gap) == (stored.committed_end, [], False)
        for _topic, frame in stored.frames:
            live += [frame["left_out"]] if frame.get("left_out") else frame["lines"]
    services.stream_sizes_store(attempt=attempt, sizes={"log": size})
    assert selectors.log_end(attempt=attempt) == size
    assert live == told(pieces)
    assert forward(attempt, limit) == told(pieces)
    assert backward(attempt, limit) == told(pieces)
    log_compact(attempt=attempt)
    assert forward(attempt, limit) == told(pieces)
    out = sum(piece.left_out or 0 for piece in pieces)
    assert gaps.log_left_out(instance=attempt.instance) == out
    assert sum(gap.lines for gap in LogGap.objects.filter(attempt=attempt)) == out


def test_half_a_gap_is_asked_for_again() -> None:
    attempt: Attempt = AttemptFactory.create()
    first = Piece(0, 4, b"one\n")
    services.chunks_store(attempt=attempt, stream="log", pieces=[first])
    stored = services.chunks_store(
        attempt=attempt, stream="log", pieces=[Piece(0, 8, b"", left_out=2)]
    )
    assert (stored.committed_end, stored.gap) == (4, True)
    assert not LogGap.objects.exists()
    late = services.chunks_store(
        attempt=attempt, stream="log", pieces=[Piece(10, 12, b"", left_out=1)]
    )
    assert (late.committed_end, late.gap) == (4, True)


def test_other_streams_have_no_gaps() -> None:
    attempt: Attempt = AttemptFactory.create()
    with pytest.raises(ValueError, match="left out"):
        services.chunks_store(
            attempt=attempt, stream="metric", pieces=[Piece(0, 4, b"", left_out=1)]
        )


def test_the_api_marks_the_place_and_counts(alice: User, client_of: ClientOf) -> None:
    attempt: Attempt = AttemptFactory.create(instance__owner=alice)
    pieces = [Piece(0, 4, b"one\n"), Piece(4, 40, b"", 9), Piece(40, 44, b"two\n")]
    services.chunks_store(attempt=attempt, stream="log", pieces=pieces)
    client, after = client_of(alice), ""
    pages: list[dict[str, Any]] = []
    while not pages or pages[-1]["more"]:
        answer = client.get(f"/api/v1/jobs/{attempt.instance_id}/log/?after={after}")
        pages.append(answer.json())
        after = pages[-1]["next"]
    assert [(page["lines"], page["left_out"], page["from"], page["to"]) for page in pages] == [
        (["one"], 0, 0, 4),
        ([], 9, 4, 40),
        (["two"], 0, 40, 44),
    ]
