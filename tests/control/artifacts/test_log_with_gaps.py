"""Downloading a log of which the rate caps left lines out: the whole file where it lies, else what is stored."""

import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.artifacts.models import OutputFile, Removal
from loraforge.artifacts.retention import Place
from loraforge.instances.models import Attempt
from loraforge.nodes.models import Node
from loraforge.telemetry import services
from loraforge.telemetry.pieces import Piece
from nodeagent.workspace import Workspace
from tests.control.artifacts.conftest import FILES, put
from tests.control.artifacts.test_artifacts import body_of
from tests.control.conftest import ClientOf, error_of

LOG = FILES["console.log"]  # two lines


@pytest.fixture
def capped(attempt: Attempt) -> Attempt:
    """Of the two lines of its log the second was left out."""
    half = len(LOG) // 2
    pieces = [Piece(0, half, LOG[:half]), Piece(half, len(LOG), b"", 1)]
    services.chunks_store(attempt=attempt, stream="log", pieces=pieces)
    return attempt


def address(attempt: Attempt) -> str:
    return f"/api/v1/jobs/{attempt.instance_id}/log/download/"


def test_the_file_comes_from_its_node(alice: User, client_of: ClientOf, capped: Attempt) -> None:
    whole = client_of(alice).get(address(capped))
    assert (whole.status_code, body_of(whole)) == (200, LOG)
    assert "console.log" in whole["Content-Disposition"]
    part = client_of(alice).get(address(capped), headers={"Range": "bytes=2-5"})
    assert (part.status_code, body_of(part)) == (206, LOG[2:6])


def test_also_while_it_runs(
    alice: User, client_of: ClientOf, capped: Attempt, workspace: Workspace
) -> None:
    Attempt.objects.update(ended_at=None)
    OutputFile.objects.all().delete()
    put(workspace.job(capped.instance_id, 1), {"console.log": LOG + b"line 3\n"})
    assert body_of(client_of(alice).get(address(capped))) == LOG + b"line 3\n"


def test_a_node_that_is_away_is_said_to_be(
    alice: User, client_of: ClientOf, capped: Attempt
) -> None:
    Node.objects.update(file_url="http://127.0.0.1:9")
    answer = client_of(alice).get(address(capped))
    assert (answer.status_code, error_of(answer)["id"]) == (503, "nodelink:node_unreachable")


@pytest.mark.django_db(transaction=True)  # what is stored is read in a thread of its own
def test_once_removed_there_is_what_is_stored(
    alice: User, client_of: ClientOf, capped: Attempt
) -> None:
    Removal.objects.create(attempt=capped, place=Place.NODE, begun_at=timezone.now())
    OutputFile.objects.update(removed_at=timezone.now())
    said = body_of(client_of(alice).get(address(capped)))
    assert said == LOG[: len(LOG) // 2] + b"[1 lines are left out here: rate cap]\n"


@pytest.mark.parametrize(
    ("wanted", "status"),
    [("bytes=5-2", 200), ("bytes=0-1,3-4", 200), ("lines=1-2", 200), ("bytes=2-5", 206),
     ("bytes=-3", 206), ("bytes=99-", 416)],
)  # fmt: skip
def test_a_range_means_the_same_for_every_download(
    alice: User, client_of: ClientOf, attempt: Attempt, wanted: str, status: int
) -> None:
    services.chunks_store(attempt=attempt, stream="log", pieces=[Piece(0, len(LOG), LOG)])
    file = f"/api/v1/jobs/{attempt.instance_id}/artifacts/console.log"
    for path in (address(attempt), file):
        answer = client_of(alice).get(path, headers={"Range": wanted})
        assert answer.status_code == status, path
