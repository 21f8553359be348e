"""A node's word about its GPUs: kept, shown, told to operators, and heeded by placing."""

import time
from collections.abc import Sequence

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from loraforge.accounts.models import User
from loraforge.core.models import OutboxMessage
from loraforge.instances.models import Attempt, Instance
from loraforge.instances.services import instance_queue
from loraforge.instances.states import State
from loraforge.nodes import services
from loraforge.nodes.gpus import devices_dirty
from loraforge.nodes.models import Device, Node
from loraforge.notifications.models import Notification
from loraforge.notifications.selectors import notice_frame
from loraforge.scheduling.selectors import wait_text
from loraforge.scheduling.services import instances_place
from nodeagent.contract import gpus as kinds
from nodeagent.contract.gpus import GpuCheck, GpuMark, GpuState
from nodeagent.contract.joining import Gpu, JoinRequest
from nodeagent.contract.reports import Heartbeat
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db

FOREIGN = GpuMark(kind=kinds.FOREIGN, detail="python (pid 7, 3.0 GiB)")
LOST = GpuMark(kind=kinds.LOST, detail="GPU is lost")
HOT = GpuMark(kind=kinds.HOT, detail="86 °C", blocks=False)
PASSED = GpuCheck(ok=True, torch="2.13.0", tflops=400.5, at=5.0)


@pytest.fixture
def node() -> Node:
    made: Node = OnlineNodeFactory.create(name="n1", gpus=2)
    return made


def beat(node: Node, *marks: Sequence[GpuMark], check: GpuCheck | None = PASSED) -> None:
    """A heartbeat with the marks of each of the node's GPUs."""
    states = [
        GpuState(uuid=f"GPU-{node.name}-{place}", marks=list(found), check=check)
        for place, found in enumerate(marks)
    ]
    heartbeat = Heartbeat(boot_id="b", agent_version="1", gpus=states)
    services.node_seen(node=node, heartbeat=heartbeat)


def blocked(node: Node) -> list[bool]:
    return list(Device.objects.filter(node=node).values_list("blocked", flat=True))


def placings() -> int:
    found, _by_model = OutboxMessage.objects.filter(target="scheduling.instances_place").delete()
    return found


def test_what_a_node_tells_is_kept_and_an_older_one_tells_nothing(node: Node) -> None:
    beat(node, [HOT, FOREIGN], [])
    first, second = Device.objects.filter(node=node)
    assert [mark["kind"] for mark in first.marks] == [kinds.FOREIGN, kinds.HOT], "what blocks first"
    assert (first.blocked, second.blocked) == (True, False)
    assert second.cuda_check == {"ok": True, "detail": "", "torch": "2.13.0", "tflops": 400.5}
    services.node_seen(node=node, heartbeat=Heartbeat(boot_id="b", agent_version="0"))
    assert blocked(node) == [True, False]
    assert placings() == 0
    beat(node, [HOT], [])
    assert (blocked(node), placings()) == ([False, False], 1)


def test_one_query_more_while_nothing_changes(node: Node) -> None:
    beat(node, [HOT], [])
    plain = Heartbeat(boot_id="b", agent_version="1")
    with CaptureQueriesContext(connection) as without:
        services.node_seen(node=node, heartbeat=plain)
    with CaptureQueriesContext(connection) as found:
        beat(node, [HOT], [])
    assert len(found) == len(without) + 1


def test_odd_words_of_a_node_are_kept_as_every_database_takes_them(node: Node) -> None:
    odd = [GpuMark(kind="gpu:newer" * 9, detail="a\0" + "x" * 999)] * 20
    beat(node, odd, [])
    (mark, *others) = Device.objects.filter(node=node)[0].marks
    assert (len(mark["kind"]), len(mark["detail"]), len(others)) == (40, 300, 7)
    assert "\0" not in mark["detail"]


def test_a_gpu_is_not_offered_before_its_check(node: Node) -> None:
    unchecked = [GpuMark(kind=kinds.UNCHECKED)]
    request = JoinRequest(
        node="n1", boot_id="b", agent_version="1", runtime="process", hostname="h",
        file_url="http://127.0.0.1:1", clock=time.time(), cpu_count=1, memory_bytes=1, disk_total_bytes=1,
        disk_free_bytes=1, gpu_mode="raw",
        gpus=[Gpu(uuid="GPU-n1-0", index=0, name="H200", memory_bytes=1, marks=unchecked)],
    )  # fmt: skip
    joined = services.node_join(node=node, request=request)
    device = Device.objects.get(node=node, present=True)
    assert (device.blocked, joined.gpu_mode) == (True, "raw")
    beat(node, [])
    assert not Device.objects.get(node=node, present=True).blocked


def test_operators_are_told_once_of_a_sick_gpu_and_not_of_one_in_use(
    node: Node, olga: User, alice: User
) -> None:
    for marks in ([FOREIGN], [LOST], [LOST], [LOST, FOREIGN], [], [HOT]):
        beat(node, marks, [])
    (told,) = Notification.objects.all()
    assert (told.user, told.what) == (olga, "node_gpu_sick")
    frame = notice_frame(told)
    assert frame["body"] == "GPU 0 of n1: The driver does not reach it. Its node's page says more."
    assert frame["url"] == "/nodes/n1/"


def queued(owner: User, **changes: object) -> Instance:
    instance: Instance = JobInstanceFactory.create(owner=owner, **changes)
    return instance_queue(actor=owner, instance=instance)


def test_placing_avoids_a_gpu_in_foreign_use_and_says_why(node: Node, alice: User) -> None:
    beat(node, [FOREIGN], [])
    pair, single = queued(alice, gpus=2), queued(alice)
    assert instances_place() == 1
    pair.refresh_from_db()
    single.refresh_from_db()
    assert (pair.state, single.state) == (State.QUEUED, State.ASSIGNED)
    assert single.attempts.get().devices == ["GPU-n1-1"]
    Instance.objects.filter(pk=single.pk).update(state=State.DRAFT)
    single.attempts.all().delete()
    instances_place()
    pair.refresh_from_db()
    assert wait_text(instance=pair) == (
        "Needs 2 on one node, 1 free. Not given out: GPU 0 of n1 (In use by others)."
    )
    with translation.override("zh-hans"):
        assert "被其他程序占用" in wait_text(instance=pair)
    beat(node, [], [])
    assert instances_place() == 1


def test_a_gpu_given_back_dirty_is_not_free_in_the_same_transaction(
    node: Node, alice: User
) -> None:
    instance = queued(alice)
    instances_place()
    attempt = Attempt.objects.get(instance=instance)
    devices_dirty(node=node, dirty={attempt.devices[0]: "9.0 GiB", "GPU-other": "x"})
    assert blocked(node) == [True, False]
    devices_dirty(node=node, dirty={attempt.devices[0]: "8.0 GiB"})
    (mark,) = Device.objects.filter(node=node)[0].marks
    assert (mark["kind"], mark["detail"]) == (kinds.DIRTY, "8.0 GiB")
    beat(node, [], [])
    assert blocked(node) == [False, False]


def test_the_page_shows_what_is_wrong_and_what_was_checked(node: Node, alice: User) -> None:
    Node.objects.filter(pk=node.pk).update(gpu_mode="cdi")
    failed = GpuMark(kind=kinds.CHECK_FAILED, detail="<b>No module named torch</b>")
    beat(node, [failed], [HOT])
    client = Client()
    client.force_login(alice)
    html = client.get("/nodes/n1/").content.decode()
    assert "&lt;b&gt;No module named torch" in html
    for text in ("CUDA check failed", "Not given out", "86 °C", "torch 2.13.0, 401 TFLOP/s"):
        assert text in html
    assert "CDI (Container Device Interface)" in html
    assert "1 of 2 free" in client.get("/nodes/").content.decode()
