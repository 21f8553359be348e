"""Pages of recipes. Saving, sharing and deleting go through the API; these pages show what there is."""

from collections.abc import Iterable
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import get_language

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import User
from loraforge.core.texts import number_read
from loraforge.dashboard.views import DashboardPage
from loraforge.datasets.selectors import dataset_list
from loraforge.recipes import selectors
from loraforge.recipes.builtin import builtins_search
from loraforge.recipes.comparing import Configuration, Line, configurations_compare
from loraforge.recipes.selectors import Chosen

PAGE_SIZE = 50
VERSIONS_SHOWN = 50
QUERY_MAX = 200


class RecipeListPage(DashboardPage):
    """One's own and shared recipes, last changed first, and the built-in ones below."""

    template_name = "dashboard/recipe_list.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        query = self.request.GET.get("q", "").strip()[:QUERY_MAX]
        rows = selectors.recipe_list(user=self.person, search=query)
        language = get_language()
        builtins = [
            {
                "id": one.id,
                "name": one.name.told(language),
                "description": one.description.told(language),
                "draft": one.draft,
            }
            for one in builtins_search(query)
        ]
        page = Paginator(rows, PAGE_SIZE).get_page(self.request.GET.get("page"))
        return super().get_context_data(q=query, page=page, builtins=builtins, **kwargs)

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        context = self.get_context_data(**kwargs)
        if request.headers.get("HX-Request") == "true" and not request.headers.get(
            "HX-History-Restore-Request"
        ):
            return render(request, "dashboard/partials/_recipe_rows.html", context)
        return self.render_to_response(context)


def lines_of(chosen: Chosen) -> list[Line]:
    """The arguments that it sets, each beside what SWIFT takes by default."""
    empty = Configuration(
        key="",
        label="",
        draft={"command": chosen.draft.get("command")},
        catalogue_version=chosen.catalogue_version,
    )
    given = Configuration(
        key=chosen.key,
        label=chosen.name,
        draft=chosen.draft,
        catalogue_version=chosen.catalogue_version,
    )
    return [line for line in configurations_compare(empty, given) if line.is_argument]


def datasets_named(*, user: User, ids: Iterable[int]) -> list[tuple[int, str]]:
    """(id, name) of those that the user may see, in this order; what is gone is left out."""
    wanted = list(ids)
    names = dict(dataset_list(user=user).filter(pk__in=wanted).values_list("pk", "name"))
    return [(number, names[number]) for number in wanted if number in names]


class _ChosenPage(DashboardPage):
    """What both kinds of recipe show."""

    template_name = "dashboard/recipe.html"

    def chosen(self, user: User) -> Chosen:
        raise NotImplementedError

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        user = self.person
        chosen = self.chosen(user)
        recipe = chosen.recipe
        return super().get_context_data(
            chosen=chosen,
            recipe=recipe,
            is_newest=recipe is None or recipe.version == chosen.number,
            lines=lines_of(chosen),
            datasets=datasets_named(user=user, ids=chosen.draft.get("datasets") or ()),
            versions=selectors.version_list(recipe=recipe)[:VERSIONS_SHOWN] if recipe else [],
            may_change=recipe is not None and access.allowed(user, Action.CHANGE, recipe),
            may_share=recipe is not None and access.allowed(user, Action.SHARE, recipe),
            groups=[group.name for group in user.groups.order_by("name")],
            **kwargs,
        )


class RecipePage(_ChosenPage):
    """A recipe with its versions; ``?version=3`` shows an older one."""

    def chosen(self, user: User) -> Chosen:
        """Raises NotFound."""
        number = number_read(self.request.GET.get("version", ""))
        key = str(self.kwargs["recipe_id"])
        return selectors.chosen_get(user=user, key=key if number is None else f"{key}:{number}")


class BuiltinPage(_ChosenPage):
    """A recipe that comes with the platform."""

    def chosen(self, user: User) -> Chosen:
        """Raises NotFound."""
        return selectors.chosen_get(user=user, key=self.kwargs["key"])
