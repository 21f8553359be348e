"""JSON is written as DRF would write it."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.utils.safestring import SafeString
from django.utils.translation import gettext_lazy
from rest_framework.renderers import JSONRenderer
from rest_framework.serializers import Serializer
from rest_framework.utils.serializer_helpers import ReturnDict

from loraforge.core.renderers import FastJsonRenderer
from loraforge.instances.states import State


@pytest.mark.parametrize(
    "data",
    [
        {"a": [1, 1.5, None, True, "ü 中 <&>"], "b": {}},
        {"at": datetime(2026, 11, 27, 12, 0, 0, 120, UTC), "on": date(2026, 11, 27)},
        {"label": gettext_lazy("Name"), "safe": SafeString("<b>"), "state": State.RUNNING},
        {"half": Decimal("0.5"), "id": UUID(int=7), "pair": (1, 2), "big": 2**70},
        ReturnDict({"a": 1}, serializer=Serializer()),
        {1: "a", State.LOST: "b"},
        [],
        "",
    ],
)
def test_the_bytes_mean_the_same(data: Any) -> None:
    assert FastJsonRenderer().render(data) == JSONRenderer().render(data)


def test_no_number_is_null_and_nothing_is_nothing() -> None:
    assert FastJsonRenderer().render({"loss": float("nan")}) == b'{"loss":null}'
    assert FastJsonRenderer().render(None) == b""


def test_whoever_asks_for_it_gets_it_indented() -> None:
    assert b"\n" in FastJsonRenderer().render({"a": 1}, "application/json; indent=2", {})
