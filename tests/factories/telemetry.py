"""Attempts, and what their nodes send. Rows only."""

from collections.abc import Iterable, Iterator

import factory
from factory.django import DjangoModelFactory

from loraforge.instances.models import Attempt
from loraforge.instances.states import State
from loraforge.telemetry.pieces import Piece
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory


class AttemptFactory(DjangoModelFactory):
    """A running first attempt on a node of its own with one GPU."""

    class Meta:
        model = Attempt

    node = factory.SubFactory(OnlineNodeFactory)
    number = 1
    devices = ["GPU-1"]
    instance = factory.SubFactory(
        JobInstanceFactory,
        state=State.RUNNING,
        attempt=factory.SelfAttribute("..number"),
        node=factory.SelfAttribute("..node"),
    )


def pieces_of(data: bytes, cuts: Iterable[int]) -> Iterator[Piece]:
    """The bytes in pieces that end at the cuts, and the rest."""
    start = 0
    for cut in [*sorted({cut for cut in cuts if 0 < cut < len(data)}), len(data)]:
        yield Piece(start, cut, data[start:cut])
        start = cut
