"""A checkpoint's files on their way to the node that goes on from them."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from loraforge.artifacts import selectors
from loraforge.artifacts.models import OutputFile
from loraforge.artifacts.services import input_url
from loraforge.instances.models import Attempt
from loraforge.nodes.models import Node
from tests.control.artifacts.conftest import FILES
from tests.control.artifacts.test_artifacts import body_of

ADAPTER = "output/checkpoint-6/adapter_model.safetensors"
BYTES = FILES[ADAPTER]


@pytest.fixture
def other(db: None) -> Node:
    """The node that is to go on."""
    found: Node = Node.objects.create(
        name="n2", token_digest=Node.digest_of("lfn_n2"), joined_at=timezone.now()
    )
    return found


@pytest.fixture
def address(attempt: Attempt, other: Node) -> str:
    return input_url(file=OutputFile.objects.get(attempt=attempt, path=ADAPTER), node=other)


def fetch(address: str, token: str = "lfn_n2", **headers: str) -> Any:
    client = APIClient()
    return client.get(address, headers={"Authorization": f"Bearer {token}", **headers})


def test_it_streams_from_the_node_that_has_it(address: str) -> None:
    answer = fetch(address)
    assert answer.status_code == 200, answer.content
    assert answer.streaming
    assert body_of(answer) == BYTES
    rest = fetch(address, Range="bytes=1000000-")
    assert rest.status_code == 206
    assert body_of(rest) == BYTES[1_000_000:]


def test_it_is_for_one_node_one_file_and_some_hours(
    address: str, attempt: Attempt, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert fetch(address, token="lfn_n1").status_code == 403
    assert fetch(address, token="lfn_nobody").status_code == 401
    assert fetch(address.replace("files/", "files/x")).status_code == 403
    OutputFile.objects.filter(path=ADAPTER).update(sha256="0" * 64)
    assert fetch(address).status_code == 410
    monkeypatch.setattr(selectors, "INPUT_MAX_AGE_S", timedelta(seconds=-1))
    assert fetch(address).status_code == 403


def test_a_node_that_is_away_is_asked_again_later(address: str) -> None:
    Node.objects.filter(name="n1").update(file_url="http://127.0.0.1:9")
    assert fetch(address).status_code == 503
