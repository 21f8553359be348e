"""Which checkpoints are complete, the newest and the best, told by what the manifests say."""

from collections.abc import Iterable
from typing import Any

import pytest
from django.utils import timezone

from loraforge.accounts.models import User
from loraforge.artifacts.checkpoints import is_for_inference, is_needed, missing_files
from loraforge.artifacts.models import BestCheckpoint
from loraforge.artifacts.selectors import Checkpoint, checkpoint_list
from loraforge.artifacts.services import manifest_store
from loraforge.instances.models import Attempt, Instance
from nodeagent.contract.reports import File
from tests.factories.training import OnlineNodeFactory

LORA = {"adapter_config.json", "adapter_model.safetensors"}
STATES = {"trainer_state.json", "optimizer.pt", "scheduler.pt"}
ONE = {"rng_state.pth"}
WHOLE = LORA | STATES | ONE
SHARDS = {f"model-0000{number}-of-00002.safetensors" for number in (1, 2)}


@pytest.mark.parametrize(
    ("names", "processes", "missing"),
    [
        (WHOLE, 1, []),
        (WHOLE | {"README.md", "args.json"}, 1, []),
        (LORA | STATES | {"rng_state_0.pth", "rng_state_1.pth"}, 2, []),
        (LORA | STATES | {"rng_state_0.pth"}, 2, ["rng_state_1.pth"]),
        ({"config.json", "model.safetensors"} | STATES | ONE, 1, []),
        ({"config.json", "model.safetensors.index.json"} | SHARDS | STATES | ONE, 1, []),
        ({"config.json"} | SHARDS | STATES | ONE, 1, ["model.safetensors.index.json"]),
        (
            {"config.json", "model-00001-of-00002.safetensors"} | STATES | ONE,
            1,
            ["model-*-of-00002"],
        ),
        (WHOLE - {"adapter_model.safetensors"}, 1, ["adapter_model.safetensors"]),
        (
            {"default/adapter_config.json", "default/adapter_model.safetensors"} | STATES | ONE,
            1,
            [],
        ),
        (
            LORA
            | ONE
            | {"trainer_state.json", "global_step9/bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt"},
            1,
            [],
        ),
        (LORA, 1, ["trainer_state.json", "optimizer.pt", "scheduler.pt", "rng_state.pth"]),
        (
            set(),
            1,
            [
                "config.json",
                "model.safetensors",
                "trainer_state.json",
                *sorted(STATES)[:2],
                "rng_state.pth",
            ],
        ),
    ],
)
def test_what_a_resume_would_not_find(
    names: Iterable[str], processes: int, missing: list[str]
) -> None:
    assert missing_files(names, processes=processes) == missing


@pytest.mark.parametrize("left_out", sorted(WHOLE))
def test_every_file_counts(left_out: str) -> None:
    assert missing_files(WHOLE - {left_out}, processes=1)


def test_inference_reads_no_state_of_the_trainer() -> None:
    states = {
        "global_step9/x.pt",
        "latest",
        "zero_to_fp32.py",
        "training_args.bin",
        "rng_state_1.pth",
    }
    model = {"README.md", "args.json", "tokenizer.json", "default/adapter_model.safetensors"}
    found = {name for name in WHOLE | states | model if is_for_inference(name)}
    assert found == LORA | model


def test_the_weights_alone_need_less() -> None:
    alone = LORA | {"trainer_state.json"}
    assert missing_files(alone, processes=4, weights_only=True) == []
    assert {name for name in WHOLE if is_needed(name, weights_only=True)} == alone | ONE
    assert all(is_needed(name, weights_only=False) for name in WHOLE)


def put(attempt: Attempt, *steps: int, cut: str = "", **more: Any) -> None:
    """The manifest of an attempt with these checkpoints; of the last one, ``cut`` ends in the middle."""
    files = [
        File(
            path=f"output/checkpoint-{step}/{name}",
            size_bytes=10,
            sha256=f"{step:064x}",
            modified_at=1.0,
            is_cut=step == steps[-1] and name == cut,
        )
        for step in steps
        for name in WHOLE
    ]
    manifest_store(attempt=attempt, files=files, complete=True, **more)


@pytest.fixture
def instance(alice: User) -> Instance:
    return Instance.objects.create(owner=alice, name="job", attempt=1, state="failed")


def attempt_of(instance: Instance, number: int) -> Attempt:
    node = OnlineNodeFactory.create()
    return Attempt.objects.create(
        instance=instance, number=number, node=node, ended_at=timezone.now()
    )


def latest(instance: Instance) -> Checkpoint:
    return next(one for one in checkpoint_list(instance=instance) if one.is_latest)


@pytest.mark.parametrize("cut", sorted(WHOLE))
def test_a_half_written_checkpoint_is_never_the_newest(instance: Instance, cut: str) -> None:
    put(attempt_of(instance, 1), 10, 20, cut=cut)
    half, whole = checkpoint_list(instance=instance)
    assert (half.step, half.is_complete, half.missing) == (20, False, (cut,))
    assert (whole.step, whole.is_complete, whole.is_latest) == (10, True, True)
    assert (whole.files, whole.size_bytes) == (len(WHOLE), 10 * len(WHOLE))


def test_a_later_manifest_says_that_it_is_whole(instance: Instance) -> None:
    attempt = attempt_of(instance, 1)
    put(attempt, 10, cut="optimizer.pt")
    assert not checkpoint_list(instance=instance)[0].is_complete
    put(attempt, 10)
    assert checkpoint_list(instance=instance)[0].is_complete


def test_the_newest_attempt_s_counts_and_an_earlier_one_s_where_it_has_none(
    instance: Instance, django_assert_num_queries: Any
) -> None:
    put(attempt_of(instance, 1), 10, 20)
    second = attempt_of(instance, 2)
    assert (latest(instance).attempt, latest(instance).step) == (1, 20)
    put(second, 30, cut="optimizer.pt")
    assert (latest(instance).attempt, latest(instance).step) == (1, 20)
    put(second, 30)
    with django_assert_num_queries(2):
        newest = latest(instance)
    assert (newest.attempt, newest.step) == (2, 30)


def test_the_best_of_a_resumed_attempt_may_be_an_earlier_one_s(instance: Instance) -> None:
    put(attempt_of(instance, 1), 10, 20)
    second = attempt_of(instance, 2)
    put(second, 30)
    BestCheckpoint.objects.create(attempt=second, step=10, metric=0.5)
    best = [one for one in checkpoint_list(instance=instance) if one.is_best]
    assert [(one.attempt, one.step) for one in best] == [(1, 10)]
