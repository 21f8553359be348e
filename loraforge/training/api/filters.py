"""What a list of jobs can be narrowed and ordered by."""

from typing import Any, ClassVar

import django_filters
from django.db.models import Q, QuerySet

from loraforge.instances.states import State
from loraforge.training.models import Command, Job

SEARCH_MAX = 200


class JobFilter(django_filters.FilterSet):
    """``?state=running&state=queued&command=sft&search=qwen&owner=alice&ordering=-created_at``"""

    state = django_filters.MultipleChoiceFilter(
        field_name="instance__state", choices=[(state.value, state.name) for state in State]
    )
    command = django_filters.ChoiceFilter(choices=Command.choices)
    owner = django_filters.CharFilter(
        field_name="instance__owner__username", max_length=150, label="A user name, exactly."
    )
    node = django_filters.CharFilter(
        field_name="instance__node__name", max_length=40, label="A node's name, exactly."
    )
    search = django_filters.CharFilter(
        method="by_words", max_length=SEARCH_MAX, label="Words of name and model, or #number."
    )
    ordering = django_filters.OrderingFilter(
        fields=(
            ("pk", "id"),
            ("instance__name", "name"),
            ("instance__created_at", "created_at"),
            ("instance__started_at", "started_at"),
            ("instance__ended_at", "ended_at"),
            ("instance__priority", "priority"),
            ("instance__state", "state"),
        )
    )

    class Meta:
        model = Job
        fields: ClassVar[list[str]] = []

    def by_words(self, rows: QuerySet[Job], _name: str, value: str) -> QuerySet[Job]:
        """Every word somewhere in name or model; ``#41`` is the job of that number."""
        condition: Any = Q()
        for word in value.split():
            one = Q(instance__name__icontains=word) | Q(model__icontains=word)
            number = word.removeprefix("#")
            if number.isascii() and number.isdigit() and len(number) < 19:  # noqa: PLR2004 - int64
                one |= Q(pk=int(number))
            condition &= one
        return rows.filter(condition)
