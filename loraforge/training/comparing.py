"""Jobs and recipes as configurations: to compare them, and to keep a job's settings as a recipe."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.errors import Invalid, LoraForgeError
from loraforge.core.texts import number_read
from loraforge.modelhub.services import model_describe
from loraforge.recipes.comparing import Configuration
from loraforge.recipes.models import Recipe
from loraforge.recipes.selectors import chosen_get
from loraforge.recipes.services import recipe_create
from loraforge.training.drafts import draft_of_job
from loraforge.training.models import Job
from loraforge.training.selectors import job_get

RECIPE = "recipe:"
DATASETS = ("datasets", "validation_datasets")


def draft_kept(job: Job, *, with_datasets: bool) -> dict[str, Any]:
    """What of a job a recipe is made from."""
    draft = asdict(draft_of_job(job))
    for name in DATASETS:
        draft[name] = list(draft[name]) if with_datasets else []
    return draft


def job_recipe_create(
    *, actor: User, job: Job, name: str, description: str = "", with_datasets: bool = False
) -> Recipe:
    """A recipe of the actor's with the settings of a job that they may see. Raises Denied, Invalid, NotFound."""
    access.require(actor, Action.VIEW, job)
    return recipe_create(
        actor=actor,
        name=name,
        description=description,
        draft=draft_kept(job, with_datasets=with_datasets),
        note=_("From #%(number)s") % {"number": job.pk},
    )


def followed(draft: Mapping[str, Any]) -> dict[str, Any]:
    """The draft with what follows from its model, as a job has it; as it is where nothing is known of that."""
    found = dict(draft)
    try:
        described = model_describe(model=str(draft.get("model")), hub=draft.get("model_hub") or "")
    except LoraForgeError:
        return found
    follows = {
        "model_hub": described.hub,
        "model_type": described.model_type,
        "template": described.template,
    }
    kept = {name: found.get(name) or value for name, value in follows.items()}
    return {**found, **kept, "model": described.model}


def configuration_get(*, user: User, key: str, field: str) -> Configuration:
    """What a key names: ``41`` (a job), ``recipe:12``, ``recipe:12:3`` or ``recipe:<id of a built-in one>``.

    Raises NotFound, and Invalid under the field that the key was given in.
    """
    if key.startswith(RECIPE):
        chosen = chosen_get(user=user, key=key.removeprefix(RECIPE))
        label = chosen.name
        if chosen.number:
            words = {"name": chosen.name, "number": chosen.number}
            label = _("%(name)s, version %(number)s") % words
        return Configuration(
            key=f"{RECIPE}{chosen.key}",
            label=label,
            draft=followed(chosen.draft),
            catalogue_version=chosen.catalogue_version,
        )
    number = number_read(key)
    if number is None:
        text = _("Name a job by its number, or a recipe as recipe:12 or recipe:12:3.")
        raise Invalid("training:compare_what", text, fields={field: [text]})
    job = job_get(user=user, job_id=number)
    return Configuration(
        key=str(job.pk),
        label=f"#{job.pk} {job.instance.name}",
        draft=draft_kept(job, with_datasets=True),
        catalogue_version=job.catalogue_version,
    )
