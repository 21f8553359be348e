"""The place that people are shown is the order in which the policy goes."""

import random
from datetime import timedelta

import pytest
from django.utils import timezone

from loraforge.instances.states import State
from loraforge.scheduling.policy import order_key
from loraforge.scheduling.selectors import queue_position, queue_positions, waiting_list, want_of
from tests.factories.training import JobInstanceFactory

pytestmark = pytest.mark.django_db


def test_the_database_sorts_as_the_policy_does() -> None:
    rng, now = random.Random(7), timezone.now()
    for _number in range(30):
        JobInstanceFactory.create(
            state=State.QUEUED,
            priority=rng.choice([-5, 0, 0, 0, 9]),
            queued_at=now - timedelta(seconds=rng.choice([0, 10, 10, 60])),
        )
    by_policy = sorted((want_of(row) for row in waiting_list()), key=order_key)
    assert list(queue_positions()) == [want.id for want in by_policy]
    assert list(queue_positions().values()) == list(range(1, 31))


def test_what_does_not_wait_has_no_place() -> None:
    assert queue_position(instance=JobInstanceFactory.create(state=State.RUNNING)) is None
