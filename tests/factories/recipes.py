"""Recipes with their first version. Rows only."""

from typing import Any

import factory
from factory.django import DjangoModelFactory

from loraforge.recipes.models import Recipe, RecipeVersion
from loraforge.swift.catalogue import DEFAULT_VERSION
from tests.factories.accounts import UserFactory
from tests.factories.training import MODEL

DRAFT: dict[str, Any] = {"command": "sft", "model": MODEL, "arguments": {"lora_rank": 16}}


class RecipeFactory(DjangoModelFactory):
    class Meta:
        model = Recipe
        skip_postgeneration_save = True

    owner = factory.SubFactory(UserFactory)
    name = factory.Sequence(lambda number: f"recipe {number}")
    command = "sft"
    model = MODEL

    @factory.post_generation
    def draft(self: Any, create: bool, extracted: dict[str, Any] | None, **_kwargs: Any) -> None:
        RecipeVersion.objects.create(
            recipe=self,
            number=1,
            draft=extracted or DRAFT,
            catalogue_version=DEFAULT_VERSION,
            author=self.owner,
        )
