import time
from datetime import timedelta
from io import StringIO
from typing import Any

import msgspec
import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone
from rest_framework.test import APIClient

from loraforge.accounts.models import User
from loraforge.core import events
from loraforge.core.errors import Conflict, Denied, Invalid
from loraforge.core.models import OutboxMessage
from loraforge.nodelink.tokens import file_key
from loraforge.nodes import services, silence
from loraforge.nodes.health import disk_level
from loraforge.nodes.models import DiskLevel, Node, NodeState
from loraforge.nodes.selectors import node_authenticate
from loraforge.notifications.models import Notification
from loraforge.notifications.selectors import notice_frame
from nodeagent.contract.joining import Gpu, JoinAnswer, JoinRequest
from nodeagent.contract.reports import Heartbeat
from tests.factories.training import OnlineNodeFactory

pytestmark = pytest.mark.django_db


def request_of(node: str, **changes: Any) -> JoinRequest:
    plain: dict[str, Any] = {
        "node": node, "boot_id": "boot-1", "agent_version": "0.1", "runtime": "process", "hostname": "host-a",
        "file_url": "http://127.0.0.1:7001", "clock": time.time(), "cpu_count": 2, "memory_bytes": 4,
        "disk_total_bytes": 10, "disk_free_bytes": 5, "cpu_slots": 2,
    }  # fmt: skip
    return JoinRequest(**{**plain, **changes})


def join(token: str, request: JoinRequest) -> Any:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client.post("/api/v1/agent/join/", msgspec.to_builtins(request), format="json")


def test_add_keeps_only_a_digest(olga: User, alice: User) -> None:
    node, token = services.node_add(actor=olga, name="n1")
    assert token.startswith("lfn_")
    assert token not in str(Node.objects.values())
    assert node_authenticate(token) == node
    assert node_authenticate(token + "x") is None
    with pytest.raises(Conflict):
        services.node_add(actor=olga, name="n1")
    with pytest.raises(Denied):
        services.node_add(actor=alice, name="n2")


@pytest.mark.parametrize("name", ["", "N1", "a.b", "a_b", "-a", "a-", "x" * 41, "n1\n"])
def test_add_refuses_names_that_break_queue_names(name: str) -> None:
    with pytest.raises(Invalid):
        services.node_add(actor=None, name=name)


def test_node_add_command_prints_the_join_command() -> None:
    out = StringIO()
    call_command("node_add", "n1", "--url", "http://cp:8000", stdout=out)
    token = out.getvalue().partition("LORAFORGE_NODE_TOKEN=")[2].split()[0]
    assert node_authenticate(token) == Node.objects.get(name="n1")
    with pytest.raises(CommandError):
        call_command("node_add", "n1", stdout=out)


def test_join_takes_over_what_the_node_is_and_answers_what_it_needs() -> None:
    node, token = services.node_add(actor=None, name="n1")
    gpus = [
        Gpu(uuid=uuid, index=place, name="H100", memory_bytes=80)
        for place, uuid in enumerate(("GPU-a", "GPU-b"))
    ]
    answer = msgspec.convert(join(token, request_of("n1", gpus=gpus)).json(), JoinAnswer)
    node.refresh_from_db()
    assert (node.state, node.hostname) == (NodeState.ONLINE, "host-a")
    assert bytes.fromhex(answer.file_key) == file_key(node)
    assert abs(answer.clock - time.time()) < 5
    assert answer.cluster
    again = msgspec.convert(join(token, request_of("n1", gpus=gpus[1:])).json(), JoinAnswer)
    assert again.cluster == answer.cluster
    assert list(node.devices.order_by("index").values_list("uuid", "present")) == [
        ("GPU-a", False),
        ("GPU-b", True),
    ]


def test_join_offers_cpu_slots_where_there_is_no_gpu() -> None:
    node, token = services.node_add(actor=None, name="n1")
    assert join(token, request_of("n1")).status_code == 200
    assert list(node.devices.values_list("uuid", "kind")) == [("cpu-0", "cpu"), ("cpu-1", "cpu")]


def test_join_refusals() -> None:
    _node, token = services.node_add(actor=None, name="n1")
    services.node_add(actor=None, name="n2")
    assert join("lfn_wrong", request_of("n1")).status_code == 401
    assert join("", request_of("n1")).status_code == 401
    assert join(token, request_of("n2")).status_code == 403
    late = join(token, request_of("n1", clock=time.time() - 10))
    assert (late.status_code, late.json()["error"]["id"]) == (409, "nodes:clock_skew")
    agent = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert agent.post("/api/v1/agent/join/", {"node": "n1"}, format="json").status_code == 400


GPU = {"uuid": "GPU-1", "index": 0, "name": "A100", "memory_bytes": 1}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"file_url": "http://[::1"}, "--advertise"),
        ({"file_url": "http://h:99999/"}, "--advertise"),
        ({"file_url": "file:///etc/passwd"}, "--advertise"),
        ({"file_url": "http://h/\0"}, "--advertise"),
        ({"file_url": "http://h/\r\nX: y"}, "--advertise"),
        ({"model_roots": ["/a\0b"]}, "--model-root"),
        ({"model_roots": ["/a"] * 1000}, "--model-root"),
        ({"cpu_count": -1}, "cpu_count"),
        ({"cpu_count": 2**31}, "cpu_count"),
        ({"cpu_slots": 1_000_000}, "cpu_slots"),
        ({"memory_bytes": 2**63}, "memory_bytes"),
        ({"disk_free_bytes": 2**64 - 1}, "disk_free_bytes"),
        ({"gpus": [{**GPU, "index": -1}]}, "index"),
        ({"gpus": [{**GPU, "memory_bytes": 2**63}]}, "memory_bytes"),
        ({"gpus": [{**GPU, "uuid": "x" * 81}]}, "UUID"),
        ({"gpus": [{**GPU, "uuid": "a\0"}]}, "UUID"),
        ({"gpus": [GPU, GPU]}, "UUID"),
        ({"gpus": [{**GPU, "uuid": f"g{n}"} for n in range(1025)]}, "1024"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_no_column_can_hold_is_refused_by_its_name(
    changes: dict[str, Any], named: str
) -> None:
    node, token = services.node_add(actor=None, name="n1")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    body = {**msgspec.to_builtins(request_of("n1")), **changes}
    answer = client.post("/api/v1/agent/join/", body, format="json")
    assert answer.status_code == 400
    assert answer.json()["error"]["id"] == "nodes:bad_join"
    assert named in answer.json()["error"]["message"]
    node.refresh_from_db()
    assert node.joined_at is None


def test_a_second_agent_elsewhere_is_refused_a_restart_is_not() -> None:
    node, token = services.node_add(actor=None, name="n1")
    assert join(token, request_of("n1")).status_code == 200
    assert (
        join(token, request_of("n1", file_url="http://127.0.0.1:7999", boot_id="b2")).status_code
        == 200
    )
    other = join(token, request_of("n1", hostname="host-b"))
    assert (other.status_code, other.json()["error"]["id"]) == (409, "nodes:already_served")
    Node.objects.filter(pk=node.pk).update(seen_at=timezone.now() - timedelta(seconds=21))
    assert join(token, request_of("n1", hostname="host-b")).status_code == 200


def test_a_second_agent_on_the_same_host_is_refused_too() -> None:
    """A folder is an agent: whoever comes from another one is another, whatever its host is called."""
    node, token = services.node_add(actor=None, name="n1")
    assert join(token, request_of("n1", agent_id="a")).status_code == 200
    assert join(token, request_of("n1", agent_id="a", hostname="renamed")).status_code == 200
    other = join(token, request_of("n1", agent_id="b"))
    assert (other.status_code, other.json()["error"]["id"]) == (409, "nodes:already_served")
    Node.objects.filter(pk=node.pk).update(seen_at=timezone.now() - timedelta(seconds=21))
    assert join(token, request_of("n1", agent_id="b")).status_code == 200
    node.refresh_from_db()
    assert node.agent_id == "b"


def test_what_runs_unknown_to_its_agent_is_kept_for_people() -> None:
    node, token = services.node_add(actor=None, name="n1")
    join(token, request_of("n1"))
    for unknown in (["lf-7-a1", "x" * 500], []):
        beat = Heartbeat(boot_id="boot-1", agent_version="0.1", unknown=unknown, dropped_lines=7)
        services.node_seen(node=node, heartbeat=beat)
        node.refresh_from_db()
        assert node.unknown == [name[:80] for name in unknown]
        assert node.dropped_lines == 7


def test_a_person_is_no_node(client_of: Any, alice: User) -> None:
    assert client_of(alice).post("/api/v1/agent/join/", {}).status_code in {401, 403}


@pytest.mark.parametrize(
    ("silence_s", "state"),
    [
        (19, NodeState.ONLINE),
        (21, NodeState.SUSPECT),
        (46, NodeState.OFFLINE),
        (901, NodeState.LOST),
    ],
)
def test_silence_makes_the_state(silence_s: int, state: NodeState) -> None:
    now = timezone.now()
    silence.hearing_touch(now=now - timedelta(hours=1))
    for second in range(3600 // 10, -1, -1):
        silence.hearing_touch(now=now - timedelta(seconds=second * 10))
    node = Node.objects.create(
        name="n1", state=NodeState.ONLINE, seen_at=now - timedelta(seconds=silence_s)
    )
    silence.nodes_review(now=now)
    node.refresh_from_db()
    assert node.state == state


def test_the_control_planes_own_silence_is_nobodys_fault() -> None:
    now = timezone.now()
    node = Node.objects.create(
        name="n1", state=NodeState.ONLINE, seen_at=now - timedelta(seconds=600)
    )
    assert silence.nodes_review(now=now) == [], "nobody listens"
    silence.hearing_touch(now=now)
    assert silence.nodes_review(now=now + timedelta(seconds=10)) == [], "grace after the restart"
    for second in range(0, 130, 5):
        silence.hearing_touch(now=now + timedelta(seconds=second))
    assert silence.nodes_review(now=now + timedelta(seconds=125)) == [node]


def test_what_a_heartbeat_says_is_bounded() -> None:
    node = OnlineNodeFactory.create(file_url="http://n1:7070")
    for address in ("file:///etc/passwd", "http://n1/" + "x" * 300, "http://[", "javascript:1"):
        beat = Heartbeat(
            boot_id="b", agent_version="1", file_url=address, disk_total_bytes=2**64 - 1, disk_free_bytes=-1
        )  # fmt: skip
        services.node_seen(node=node, heartbeat=beat)
    node.refresh_from_db()
    assert node.file_url == "http://n1:7070"
    assert (node.disk_total_bytes, node.disk_free_bytes) == (2**63 - 1, 0)


def test_a_heartbeat_brings_it_back_and_tells(olga: User) -> None:
    node = Node.objects.create(name="n1", state=NodeState.LOST)
    told: list[str] = []

    def listen(*, node: Node, before: NodeState) -> None:
        told.append(f"{before}->{node.state}")

    events.subscribe(events.NODE_STATE_CHANGED, listen)
    try:
        services.node_seen(node=node, heartbeat=Heartbeat(boot_id="b", agent_version="1"))
        services.node_seen(node=node, heartbeat=Heartbeat(boot_id="b", agent_version="1"))
    finally:
        events._handlers[events.NODE_STATE_CHANGED].remove(listen)
    assert told == ["lost->online"]


def test_maintenance_is_left_by_a_person_only() -> None:
    node = Node.objects.create(name="n1", state=NodeState.MAINTENANCE)
    services.node_seen(node=node, heartbeat=Heartbeat(boot_id="b", agent_version="1"))
    assert node.state == NodeState.MAINTENANCE


@pytest.mark.parametrize(
    ("free", "before", "after"),
    [
        (16, "fine", "fine"),
        (14.9, "fine", "warning"),
        (15.5, "warning", "warning"),  # at its limit it does not go to and fro
        (16.1, "warning", "fine"),
        (9.9, "fine", "low"),
        (10.5, "low", "low"),
        (11.1, "low", "warning"),
        (50, "low", "fine"),
    ],
)
def test_how_full_a_disk_counts(free: float, before: str, after: str) -> None:
    level = disk_level(free_bytes=int(free * 100), total_bytes=10_000, before=DiskLevel(before))
    assert level == after


def test_operators_are_told_when_a_disk_fills_up(alice: User, olga: User) -> None:
    node, _token = services.node_add(actor=olga, name="n1")

    def beat(free: int) -> str:
        heartbeat = Heartbeat(
            boot_id="b", agent_version="1", disk_free_bytes=free, disk_total_bytes=100
        )
        return str(services.node_seen(node=node, heartbeat=heartbeat).disk_level)

    assert [beat(free) for free in (50, 14, 14, 9, 9, 12, 60)] == [
        *("fine", "warning", "warning", "low", "low", "warning", "fine")
    ]
    told = list(Notification.objects.order_by("pk"))
    assert [(row.user, row.what) for row in told] == [
        (olga, "node_disk_warning"),
        (olga, "node_disk_low"),
    ]
    frame = notice_frame(told[1])
    assert (frame["url"], frame["body"][:4]) == ("/nodes/n1/", "9 % ")
    placing = OutboxMessage.objects.filter(target="scheduling.instances_place")
    assert placing.count() == 1, "who waited for room may go now"
    older = Heartbeat(boot_id="b", agent_version="0")
    assert services.node_seen(node=node, heartbeat=older).disk_free_bytes == 60
