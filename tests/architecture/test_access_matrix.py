"""Who gets through at every address: a new one fails until somebody has said so in the table."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.db import transaction
from django.test import Client
from django.utils import timezone

from loraforge.accounts import sharing
from loraforge.accounts.consumers import SocketConsumer
from loraforge.accounts.models import User
from loraforge.artifacts.models import OutputFile
from loraforge.core.errors import Denied, NotFound
from loraforge.datasets.models import Upload
from loraforge.instances.states import State
from loraforge.notifications.models import Notification
from loraforge.scheduling.models import Reservation
from tests.architecture.addresses import Address, addresses, socket_routes
from tests.factories.accounts import ApiTokenFactory, UserFactory
from tests.factories.recipes import RecipeFactory
from tests.factories.training import JobFactory, OnlineNodeFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db

# address -> one letter for each of ASKERS: Y gets through (whatever it then finds wrong), N 404, F 403,
# - must sign in first.
TABLE: dict[str, str] = json.loads((Path(__file__).parent / "access_matrix.json").read_text())
ASKERS = ("anonymous", "outsider", "viewer", "sharee", "owner", "operator")
UNREADY = 503


@pytest.fixture
def world() -> dict[str, Any]:
    """One of everything, owned by `owner` and shared with `sharee`."""
    people = {name: UserFactory.create(username=name) for name in ("outsider", "sharee", "owner")}
    people["viewer"] = UserFactory.create(username="viewer", viewer=True)
    people["operator"] = UserFactory.create(username="operator", operator=True)
    owner = people["owner"]
    node = OnlineNodeFactory.create(name="n1", gpus=1)
    job = JobFactory.create(
        owner=owner, state=State.FAILED, instance__attempt=1, instance__node=node
    )
    attempt = job.instance.attempts.create(number=1, node=node, devices=["GPU-n1-0"])
    file = OutputFile.objects.create(
        attempt=attempt, path="console.log", size_bytes=1, sha256="0" * 64
    )
    stored = default_storage.save("datasets/matrix", ContentFile(b'{"messages": []}\n'))
    dataset = ReadyDatasetFactory.create(owner=owner, storage_name=stored)
    recipe = RecipeFactory.create(owner=owner)
    shared = (
        (job.instance, "download_instance"), (dataset, "use_dataset"), (recipe, "use_recipe"),
    )  # fmt: skip
    for row, codename in shared:
        sharing.share_grant(actor=owner, row=row, codename=codename, username="sharee")
    upload = Upload.objects.create(
        id=uuid4(), owner=owner, filename="f", size_bytes=1, expires_at=timezone.now()
    )
    notice = Notification.objects.create(user=owner, instance=job.instance, what="running")
    token = ApiTokenFactory.create(owner=owner)
    reservation = Reservation.objects.create(
        node=node, user=owner, starts_at=timezone.now(), reason="course",
        ends_at=timezone.now() + timedelta(hours=1),
    )  # fmt: skip
    values = {
        "reservations": reservation.pk,
        "datasets": dataset.pk,
        "recipes": recipe.pk,
        "number": 1,
        "key": "qwen3-8b-lora",
        "uploads": upload.pk,
        "tokens": token.pk,
        "notifications": notice.pk,
        "path": file.path,
        "name": node.name,
        "username": "sharee",
        "tab": "files",
        "module": "grpo",
        "signed": "nonsense",
    }
    return {"people": people, "values": values, "job": job.pk}


def fill(route: str, world: dict[str, Any]) -> str:
    """The route with the world's keys for its placeholders."""
    values = world["values"]

    def one(found: re.Match[str]) -> str:
        name = found.group(1)
        noun = next((part for part in reversed(route[: found.start()].split("/")) if part), "")
        return str(values.get(name) or values.get(noun) or world["job"])

    return "/" + re.sub(r"<(\w+)>", one, route)


def letter(response: Any) -> str:
    """What an answer says about access."""
    to_login = response.status_code == 302 and "/login/" in response["Location"]
    if response.status_code == 401 or to_login:
        return "-"
    assert response.status_code < 500 or response.status_code == UNREADY, response.content[:2000]
    return {403: "F", 404: "N"}.get(response.status_code, "Y")


def ask(address: Address, person: User | None, world: dict[str, Any]) -> str:
    client = Client(raise_request_exception=False)
    if person is not None:
        client.force_login(person)
    body: dict[str, Any] = {"data": {}, "content_type": "application/json"}
    kwargs = body if address.is_api and address.method != "get" else {}
    with transaction.atomic():
        answer = getattr(client, address.method)(fill(address.route, world), **kwargs)
        # what one asker changed or deleted must not hide it from the next
        transaction.set_rollback(True)
    return letter(answer)


@pytest.mark.parametrize("address", addresses(), ids=str)
def test_who_gets_through(address: Address, world: dict[str, Any]) -> None:
    found = "".join(ask(address, world["people"].get(name), world) for name in ASKERS)
    wanted = TABLE.get(str(address))
    assert wanted is not None, f'say who gets through: "{address}": "{found}"?'
    assert dict(zip(ASKERS, found, strict=True)) == dict(zip(ASKERS, wanted, strict=True))


def test_the_table_names_no_address_that_is_gone() -> None:
    known = {str(address) for address in addresses()} | {
        f"WS /{route}" for route in socket_routes()
    }
    assert set(TABLE) - known == set()


def watch(kind: type[SocketConsumer], person: User, job: int) -> str:
    consumer = kind()
    route = {"kwargs": {"instance_id": job}}
    scope: Any = {"type": "websocket", "query_string": b"", "url_route": route}
    consumer.scope = scope
    try:
        consumer.feed_get(user=person)
    except NotFound:
        return "N"
    except Denied:
        return "F"
    return "Y"


@pytest.mark.parametrize("route", socket_routes())
def test_who_may_watch(route: str, world: dict[str, Any]) -> None:
    kind = socket_routes()[route]
    # the base asks who it is before anything else; its own tests show that strangers get nothing
    assert issubclass(kind, SocketConsumer)
    assert kind.connect is SocketConsumer.connect
    found = "-" + "".join(watch(kind, world["people"][name], world["job"]) for name in ASKERS[1:])
    assert TABLE.get(f"WS /{route}") == found, f'"WS /{route}": "{found}"?'
