"""What a list of jobs can be narrowed and ordered by."""

from typing import Any

import django_filters
from django.db.models import Q, QuerySet

from loraforge.instances.models import Instance
from loraforge.instances.states import State
from loraforge.training.models import Command

SEARCH_MAX = 200


class JobFilter(django_filters.FilterSet):
    """``?state=running&state=queued&command=sft&search=qwen&owner=alice&ordering=-created_at``"""

    state = django_filters.MultipleChoiceFilter(
        field_name="state", choices=[(state.value, state.name) for state in State]
    )
    command = django_filters.ChoiceFilter(field_name="job__command", choices=Command.choices)
    owner = django_filters.CharFilter(
        field_name="owner__username", max_length=150, label="A user name, exactly."
    )
    node = django_filters.CharFilter(
        field_name="node__name", max_length=40, label="A node's name, exactly."
    )
    search = django_filters.CharFilter(
        method="by_words", max_length=SEARCH_MAX, label="Words of name and model, or #number."
    )
    ordering = django_filters.OrderingFilter(
        fields=(
            ("pk", "id"),
            ("name", "name"),
            ("created_at", "created_at"),
            ("started_at", "started_at"),
            ("ended_at", "ended_at"),
            ("priority", "priority"),
            ("state", "state"),
        )
    )

    def by_words(self, rows: QuerySet[Instance], _name: str, value: str) -> QuerySet[Instance]:
        """Every word somewhere in name or model; ``#41`` is the job of that number."""
        condition: Any = Q()
        for word in value.split():
            one = Q(name__icontains=word) | Q(job__model__icontains=word)
            number = word.removeprefix("#")
            if number.isascii() and number.isdigit() and len(number) < 19:  # noqa: PLR2004 - int64
                one |= Q(pk=int(number))
            condition &= one
        return rows.filter(condition)
