"""Recipes of a team: one with three versions that is shared, one with a long name, one of somebody else."""

from typing import Any

from django.contrib.auth.models import Group

from loraforge.accounts.models import User
from loraforge.datasets.models import Dataset
from loraforge.recipes.services import recipe_create, recipe_share, recipe_update

QWEN = "Qwen/Qwen2.5-7B-Instruct"
LONG = "客服问答 · 长上下文 · QLoRA 4 比特 · 夜间批量训练用（不要改学习率，先问小李）"


def fill(*, people: dict[str, User], datasets: list[Dataset]) -> None:
    """As their owners would have saved them."""
    alice, carol = people["alice"], people["carol"]
    team = Group.objects.create(name="nlp-team")
    for person in (alice, carol):
        person.groups.add(team)
    arguments: dict[str, Any] = {
        "lora_rank": 16,
        "lora_alpha": 32,
        "learning_rate": 1e-4,
        "num_train_epochs": 3,
    }
    draft = {"command": "sft", "model": QWEN, "arguments": arguments, "datasets": [datasets[0].pk]}
    words = "Questions with answers of the help desk. Start here, then raise the rank."
    first = recipe_create(actor=alice, name="Help desk · LoRA", description=words, draft=draft)
    arguments |= {"lora_rank": 32, "lora_alpha": 64, "max_length": 4096}
    recipe_update(actor=alice, recipe=first, draft=draft, note="Longer rows")
    arguments |= {"learning_rate": 5e-5, "num_train_epochs": 2, "torch_dtype": "bfloat16"}
    recipe_update(actor=alice, recipe=first, draft=draft, note="Lower rate: the loss jumped")
    recipe_share(actor=alice, recipe=first, user="carol")
    recipe_share(actor=alice, recipe=first, group="nlp-team")
    quantised = {"quant_method": "bnb", "quant_bits": 4, "max_length": 16384}
    recipe_create(
        actor=alice, name=LONG, draft={**draft, "arguments": arguments | quantised, "datasets": []}
    )
    text = {"command": "pt", "model": "Qwen/Qwen3-8B-Base", "arguments": {"tuner_type": "full"}}
    theirs = recipe_create(actor=carol, name="Own field, plain text", draft=text)
    recipe_share(actor=carol, recipe=theirs, group="nlp-team")
