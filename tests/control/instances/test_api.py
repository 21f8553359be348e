from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.instances.models import Instance
from loraforge.instances.services import instance_assign, instance_queue
from loraforge.instances.states import State
from tests.control.conftest import ClientOf
from tests.factories.training import JobInstanceFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db


def test_list_is_ones_own_filtered_and_of_constant_cost(
    alice: User, bob: User, client_of: ClientOf, django_assert_max_num_queries: Any
) -> None:
    JobInstanceFactory.create_batch(30, owner=alice)
    JobInstanceFactory.create(owner=bob)
    Instance.objects.filter(owner=alice, pk__in=Instance.objects.values("pk")[:3]).update(
        state=State.FAILED
    )
    client = client_of(alice)
    with django_assert_max_num_queries(4):
        answer = client.get("/api/v1/instances/").json()
    assert answer["count"] == 30
    assert answer["results"][0]["id"] > answer["results"][1]["id"]
    failed = client.get("/api/v1/instances/", {"state": "failed"}).json()
    assert {row["state"] for row in failed["results"]} == {"failed"}


def test_detail_of_anothers_is_404(alice: User, bob: User, client_of: ClientOf) -> None:
    instance = JobInstanceFactory.create(owner=alice)
    address = f"/api/v1/instances/{instance.pk}/"
    assert client_of(alice).get(address).json()["owner"] == "alice"
    assert client_of(bob).get(address).status_code == 404
    arabic = "".join(chr(0x660 + int(digit)) for digit in str(instance.pk))
    assert client_of(alice).get(f"/api/v1/instances/{arabic}/").status_code == 404
    assert client_of(None).get(address).status_code == 401


def test_nodes_show_holders_only_to_those_who_may_know(
    alice: User, bob: User, olga: User, client_of: ClientOf, django_assert_max_num_queries: Any
) -> None:
    node = OnlineNodeFactory.create(gpus=2)
    for _more in range(5):
        OnlineNodeFactory.create(gpus=4)
    instance = JobInstanceFactory.create(owner=alice, name="secret")
    instance_queue(actor=alice, instance=instance)
    instance_assign(instance=instance, node=node, devices=[f"GPU-{node.name}-0"])

    def holders(user: User) -> list[Any]:
        with django_assert_max_num_queries(8):
            nodes = client_of(user).get("/api/v1/nodes/").json()["results"]
        shown = next(one for one in nodes if one["name"] == node.name)
        assert [device["busy"] for device in shown["devices"]] == [True, False]
        return [device["holder"] for device in shown["devices"]]

    known = {"instance_id": instance.pk, "name": "secret", "owner": "alice"}
    assert holders(alice) == [known, None]
    assert holders(olga) == [known, None]
    assert holders(bob) == [{"instance_id": None, "name": None, "owner": None}, None]


def test_only_operators_cordon(alice: User, olga: User, client_of: ClientOf) -> None:
    node = OnlineNodeFactory.create(gpus=1)
    assert client_of(alice).post(f"/api/v1/nodes/{node.name}/cordon/").status_code == 403
    assert client_of(olga).post(f"/api/v1/nodes/{node.name}/cordon/").json()["cordoned"] is True
    node.refresh_from_db()
    assert node.cordoned
    assert client_of(olga).post(f"/api/v1/nodes/{node.name}/uncordon/").json()["cordoned"] is False
    assert client_of(olga).post("/api/v1/nodes/nowhere/cordon/").status_code == 404
