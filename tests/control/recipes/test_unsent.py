"""Forms that were not sent yet: one's own, bounded, and no tab overwrites another in silence."""

from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.recipes.contents import CONTENT_MAX_BYTES
from loraforge.recipes.models import UnsentForm
from loraforge.recipes.unsent import KEPT_MOST
from tests.control.conftest import ClientOf, error_of

pytestmark = pytest.mark.django_db
URL = "/api/v1/drafts/"


def kept(client: Any, *, version: int, tab: str = "", source: str = "new", model: str = "m") -> Any:
    body = {"source": source, "version": version, "tab": tab, "draft": {"model": model}}
    return client.put(URL, body)


def test_a_form_is_kept_and_found_on_another_machine(client_of: ClientOf, alice: User) -> None:
    first = kept(client_of(alice), version=0, tab="a").json()
    assert (first["source"], first["version"]) == ("new", 1)
    assert kept(client_of(alice), version=1, tab="a", model="second").json()["version"] == 2
    found = client_of(alice).get(URL, {"source": "new"}).json()
    assert (found["version"], found["draft"]) == (2, {"model": "second"})
    other = client_of(alice).get(URL, {"source": "41:0:"}).json()
    assert (other["version"], other["draft"], other["saved_at"]) == (0, None, None)


def test_a_second_tab_overwrites_nothing_in_silence(client_of: ClientOf, alice: User) -> None:
    client = client_of(alice)
    kept(client, version=0, tab="a", model="first")
    late = kept(client, version=0, tab="b", model="second")
    assert (late.status_code, error_of(late)["id"]) == (409, "recipes:form_changed")
    seen = client.get(URL, {"source": "new"}).json()
    assert seen["draft"] == {"model": "first"}
    assert kept(client, version=seen["version"], tab="b", model="mine").status_code == 200
    assert kept(client, version=1, tab="a").status_code == 409


def test_a_tab_whose_answer_was_lost_is_no_second_one(client_of: ClientOf, alice: User) -> None:
    client = client_of(alice)
    kept(client, version=0, tab="a")
    assert kept(client, version=0, tab="a", model="again").json()["version"] == 2
    assert kept(client, version=0, tab="").status_code == 409


def test_what_was_sent_in_another_tab_does_not_come_back(client_of: ClientOf, alice: User) -> None:
    client = client_of(alice)
    kept(client, version=0, tab="a")
    for _twice in range(2):
        assert client.delete(f"{URL}?source=new&version=1&tab=a").status_code == 204
    assert kept(client, version=1, tab="b").status_code == 409
    assert not UnsentForm.objects.exists()


def test_what_another_tab_has_kept_since_is_not_thrown_away(
    client_of: ClientOf, alice: User
) -> None:
    client = client_of(alice)
    kept(client, version=0, tab="a")
    kept(client, version=1, tab="b", model="newer")
    assert client.delete(f"{URL}?source=new&version=1&tab=a").status_code == 204
    assert UnsentForm.objects.get().draft == {"model": "newer"}
    assert client.delete(f"{URL}?source=new").status_code == 400


def test_a_form_is_its_owners_alone(
    client_of: ClientOf, alice: User, bob: User, olga: User, vera: User
) -> None:
    kept(client_of(alice), version=0)
    for person in (bob, olga):
        assert client_of(person).get(URL, {"source": "new"}).json()["version"] == 0
        assert client_of(person).delete(f"{URL}?source=new&version=1").status_code == 204
    assert kept(client_of(vera), version=0).status_code == 403
    assert UnsentForm.objects.get().owner == alice


def test_a_form_has_a_bound(client_of: ClientOf, alice: User) -> None:
    client = client_of(alice)
    large = kept(client, version=0, model="a" * CONTENT_MAX_BYTES)
    nul = kept(client, version=0, model="a\0b")
    nameless = client.put(URL, {"source": "", "version": 0, "draft": {}})
    assert [error_of(one)["id"] for one in (large, nul, nameless)] == [
        "recipes:too_large", "recipes:zero_byte", "api:invalid",
    ]  # fmt: skip
    for number in range(KEPT_MOST + 3):
        kept(client, version=0, source=f"{number}:0:")
    sources = set(UnsentForm.objects.values_list("source", flat=True))
    assert len(sources) == KEPT_MOST
    assert "0:0:" not in sources
