"""What the preview says a draft will take: memory, steps, disk, and whether a card has as much."""

from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.nodes.models import Device
from tests.control.conftest import ClientOf
from tests.factories.training import OnlineNodeFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db
GIB = 2**30


@pytest.fixture
def body(alice: User) -> dict[str, Any]:
    dataset = ReadyDatasetFactory.create(owner=alice, rows=160)
    arguments = {"max_length": 2048, "num_train_epochs": 1, "save_steps": 5}
    return {"model": "Qwen/Qwen2.5-7B-Instruct", "datasets": [dataset.pk], "arguments": arguments}


def test_a_small_card_is_warned_of_and_a_large_one_fits(
    alice: User, client_of: ClientOf, body: dict[str, Any]
) -> None:
    node = OnlineNodeFactory.create(gpus=1)
    client = client_of(alice)
    Device.objects.update(memory_bytes=16 * GIB, name="Small")
    found = client.post("/api/v1/swift/preview/", body).json()
    assert found["forecast"]["fits"] is False
    (warning,) = [one["text"] for one in found["warnings"] if one["field"] == "gpus"]
    assert "QLoRA" in warning
    assert "16.0 GiB" in warning
    assert node.name in warning
    Device.objects.update(memory_bytes=80 * GIB)
    forecast = client.post("/api/v1/swift/preview/", body).json()["forecast"]
    assert forecast["fits"] is True
    assert 16 * GIB < forecast["memory_bytes"] < 30 * GIB
    assert forecast["steps"] == 10
    assert forecast["checkpoints_bytes"] == 2 * forecast["checkpoint_bytes"]
    assert forecast["duration_s"] is None
    assert forecast["duration_text"] == "unknown"
    assert "80.0 GiB" in forecast["memory_text"]


def test_what_nobody_knows_is_unknown(
    alice: User, client_of: ClientOf, body: dict[str, Any]
) -> None:
    OnlineNodeFactory.create(gpus=1)
    body["arguments"] = {"packing": True}
    forecast = client_of(alice).post("/api/v1/swift/preview/", body).json()["forecast"]
    assert (forecast["memory_bytes"], forecast["fits"], forecast["steps"]) == (None, None, None)
    assert forecast["memory_text"] == "unknown"
