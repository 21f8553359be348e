"""What an agent reads every second does not grow with every job that ever ran."""

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from django.utils import timezone

from loraforge.gateway.acks import KEPT, acks_trim
from loraforge.instances.models import Attempt
from nodeagent.contract.channels import ACK_JOURNAL, ack_field, ack_key, reread_field

if TYPE_CHECKING:
    import redis

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def fields(client: "redis.Redis", attempt: Attempt) -> set[str]:
    return {name.decode() for name in client.hkeys(ack_key(attempt.node.name))}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("ended_ago", "is_kept"), [(None, True), (KEPT / 2, True), (KEPT * 2, False)]
)
def test_fields_of_what_ended_long_ago_go(
    client: "redis.Redis", attempt: Attempt, ended_ago: timedelta | None, is_kept: bool
) -> None:
    if ended_ago is not None:
        Attempt.objects.filter(pk=attempt.pk).update(ended_at=timezone.now() - ended_ago)
    own = {
        ack_field(attempt.instance_id, attempt.number, "log"),
        reread_field(attempt.instance_id, attempt.number, "log"),
    }
    unknown = ack_field(999_999, 1, "log")
    names = dict.fromkeys([*own, unknown, ACK_JOURNAL], "7")
    client.delete(ack_key(attempt.node.name))
    client.hset(ack_key(attempt.node.name), mapping=names)  # type: ignore[arg-type]
    made_up = (b"a:b:c", b"\xff:1:log", b"9" * 30 + b":1:log")  # a node may write there too
    client.hset(ack_key(attempt.node.name), mapping=dict.fromkeys(made_up, "7"))
    removed = acks_trim(client)
    client.hdel(ack_key(attempt.node.name), *made_up)
    assert fields(client, attempt) == {ACK_JOURNAL} | (own if is_kept else set())
    assert removed == (1 if is_kept else 3)
