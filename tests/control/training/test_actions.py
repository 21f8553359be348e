"""What people press, what they share, what they see."""

from typing import Any

import pytest

from loraforge.accounts.models import User
from loraforge.instances.states import State
from tests.control.conftest import ClientOf, error_of
from tests.factories.training import JobFactory, OnlineNodeFactory

pytestmark = pytest.mark.django_db

ADDRESS = "/api/v1/jobs"


@pytest.mark.parametrize(
    ("word", "before", "after"),
    [
        ("withdraw", State.QUEUED, "draft"),
        ("stop", State.QUEUED, "stopped"),
        ("cancel", State.QUEUED, "stopped"),
        ("retry", State.FAILED, "queued"),
        ("retry", State.STOPPED, "queued"),
        ("retry", State.LOST, "queued"),
    ],
)
def test_what_is_pressed_happens(
    alice: User, client_of: ClientOf, word: str, before: State, after: str
) -> None:
    job = JobFactory.create(owner=alice, state=before)
    answer = client_of(alice).post(f"{ADDRESS}/{job.pk}/{word}/")
    assert answer.status_code == 200, answer.json()
    assert answer.json()["state"] == after


@pytest.mark.parametrize(
    ("word", "state"),
    [
        ("start", State.QUEUED),
        ("start", State.SUCCEEDED),
        ("start", State.FAILED),
        ("withdraw", State.RUNNING),
        ("withdraw", State.DRAFT),
        ("stop", State.SUCCEEDED),
        ("cancel", State.DRAFT),
        ("checkpoint", State.QUEUED),
        ("retry", State.SUCCEEDED),
        ("retry", State.DRAFT),
        ("retry", State.RUNNING),
        ("resume", State.SUCCEEDED),
        ("resume", State.RUNNING),
        ("resume", State.FAILED),  # no checkpoint was saved
    ],
)
def test_what_does_not_fit_is_a_conflict(
    alice: User, client_of: ClientOf, word: str, state: State
) -> None:
    job = JobFactory.create(owner=alice, state=state)
    answer = client_of(alice).post(f"{ADDRESS}/{job.pk}/{word}/")
    assert answer.status_code == 409
    job.instance.refresh_from_db()
    assert job.instance.state == state


def test_only_columns_that_may_change_do(alice: User, client_of: ClientOf) -> None:
    job = JobFactory.create(owner=alice)
    body = {"name": "new", "tags": ["a"], "notes": "n", "keep": True, "state": "succeeded"}
    found = client_of(alice).patch(f"{ADDRESS}/{job.pk}/", body).json()
    assert (found["name"], found["tags"], found["notes"], found["keep"]) == (
        "new",
        ["a"],
        "n",
        True,
    )
    assert found["state"] == "draft"


def test_raising_the_priority_is_the_operators(
    alice: User, olga: User, client_of: ClientOf
) -> None:
    job = JobFactory.create(owner=alice)
    address = f"{ADDRESS}/{job.pk}/"
    assert client_of(alice).patch(address, {"priority": 1}).status_code == 403
    assert client_of(olga).patch(address, {"priority": 1}).json()["priority"] == 1


def test_sharing(alice: User, bob: User, olga: User, client_of: ClientOf) -> None:
    job = JobFactory.create(owner=alice)
    address = f"{ADDRESS}/{job.pk}/"
    assert client_of(bob).get(address).status_code == 404
    shared = client_of(alice).post(f"{address}shares/", {"user": "bob"})
    assert (shared.status_code, shared.json()) == (201, {"user": "bob"})
    seen = client_of(bob).get(address)
    assert seen.json()["allowed"] == ["view", "download"]
    assert client_of(bob).post(f"{address}start/").status_code == 403
    assert client_of(bob).get(f"{address}shares/").status_code == 403
    # an operator manages, but does not give others' weights away
    assert client_of(olga).post(f"{address}shares/", {"user": "olga"}).status_code == 403
    assert client_of(alice).get(f"{address}shares/").json()["results"] == [{"user": "bob"}]
    assert client_of(alice).delete(f"{address}shares/bob/").status_code == 204
    assert client_of(alice).delete(f"{address}shares/bob/").status_code == 404
    assert client_of(bob).get(address).status_code == 404


@pytest.mark.parametrize("name", ["nobody", "", "x" * 151, "a\0b"])
def test_sharing_with_nobody_is_refused(alice: User, client_of: ClientOf, name: str) -> None:
    job = JobFactory.create(owner=alice)
    answer = client_of(alice).post(f"{ADDRESS}/{job.pk}/shares/", {"user": name})
    assert answer.status_code == 400
    assert "user" in error_of(answer)["fields"]


def test_attempts_and_events(alice: User, client_of: ClientOf) -> None:
    node = OnlineNodeFactory.create(name="n1", gpus=1)
    job = JobFactory.create(owner=alice, launched={"1": {"argv": ["-m", "x"]}})
    job.instance.attempts.create(number=1, node=node, devices=["GPU-n1-0"])
    job.instance.events.create(source="draft", target="queued", actor=alice)
    attempts = client_of(alice).get(f"{ADDRESS}/{job.pk}/attempts/").json()["results"]
    assert [(one["number"], one["node"], one["argv"]) for one in attempts] == [
        (1, "n1", ["-m", "x"])
    ]
    events = client_of(alice).get(f"{ADDRESS}/{job.pk}/events/").json()["results"]
    assert [(one["source"], one["target"], one["actor"]) for one in events] == [
        ("draft", "queued", "alice")
    ]


def ids(answer: Any) -> list[int]:
    return [row["id"] for row in answer.json()["results"]]


def test_the_list_is_filtered_and_ordered(
    alice: User, bob: User, olga: User, client_of: ClientOf
) -> None:
    one = JobFactory.create(owner=alice, state=State.RUNNING, instance__name="Zebra")
    two = JobFactory.create(owner=alice, command="pt", model="org/Llama", instance__name="apple")
    three = JobFactory.create(owner=bob, state=State.QUEUED)
    mine = client_of(alice)
    assert ids(mine.get(f"{ADDRESS}/")) == [two.pk, one.pk]
    assert ids(mine.get(f"{ADDRESS}/?state=running&state=queued")) == [one.pk]
    assert ids(mine.get(f"{ADDRESS}/?command=pt")) == [two.pk]
    assert ids(mine.get(f"{ADDRESS}/?search=llama")) == [two.pk]
    assert ids(mine.get(f"{ADDRESS}/?search=zebra+qwen")) == [one.pk]
    assert ids(mine.get(f"{ADDRESS}/?search=%23{one.pk}")) == [one.pk]
    assert ids(mine.get(f"{ADDRESS}/?ordering=id")) == [one.pk, two.pk]
    everything = client_of(olga)
    assert ids(everything.get(f"{ADDRESS}/")) == [three.pk, two.pk, one.pk]
    assert ids(everything.get(f"{ADDRESS}/?owner=bob")) == [three.pk]
    assert ids(mine.get(f"{ADDRESS}/?owner=bob")) == []


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("state=nonsense", 400),
        ("command=nonsense", 400),
        ("ordering=nonsense", 400),
        ("search=" + "x" * 201, 400),
        ("search=a%00b", 400),
        ("page=99", 404),
        ("page=x", 404),
        ("page_size=100000", 200),
        ("search=%23" + "9" * 30, 200),
    ],
)
def test_odd_questions_to_the_list(
    alice: User, client_of: ClientOf, query: str, status: int
) -> None:
    assert client_of(alice).get(f"{ADDRESS}/?{query}").status_code == status


def test_a_deleted_job_is_in_no_list(alice: User, client_of: ClientOf) -> None:
    job = JobFactory.create(owner=alice)
    client_of(alice).delete(f"{ADDRESS}/{job.pk}/")
    assert ids(client_of(alice).get(f"{ADDRESS}/")) == []


def test_the_row_of_the_list_is_a_part_of_the_job(alice: User, client_of: ClientOf) -> None:
    job = JobFactory.create(
        owner=alice, state=State.QUEUED, instance__wait_reason="scheduling:user_cap",
        instance__wait_detail={"running": 1, "cap": 1}, instance__step=5, instance__max_steps=9,
    )  # fmt: skip
    row = client_of(alice).get(f"{ADDRESS}/").json()["results"][0]
    whole = client_of(alice).get(f"{ADDRESS}/{job.pk}/").json()
    assert {name: whole[name] for name in row} == row
    assert row["progress"] == 55
    assert row["wait_text"]


def test_the_catalogue(alice: User, client_of: ClientOf) -> None:
    found = client_of(alice).get("/api/v1/swift/catalogue/?command=sft&search=lora_rank").json()
    assert found["arguments"][0]["name"] == "lora_rank"
    whole = client_of(alice).get("/api/v1/swift/catalogue/").json()
    by_name = {one["name"]: one for one in whole["arguments"]}
    assert len(by_name) > 300
    assert by_name["output_dir"]["reserved"]
    assert not by_name["lora_rank"]["reserved"]
    assert client_of(alice).get("/api/v1/swift/catalogue/?command=x").status_code == 400


def test_the_catalogue_has_help_and_sections_in_the_language_asked_for(
    alice: User, client_of: ClientOf
) -> None:
    told = {}
    for language in ("en", "zh-hans", "fr"):
        address = "/api/v1/swift/catalogue/?command=sft&search=learning_rate"
        told[language] = client_of(alice).get(address, headers={"Accept-Language": language}).json()
    first = {language: body["arguments"][0] for language, body in told.items()}
    assert first["en"]["help"].startswith("Step size of learning")
    assert first["zh-hans"]["help"].startswith("学习率的最高值")
    assert first["fr"] == first["en"]
    titles = {one["id"]: one["title"] for one in told["zh-hans"]["sections"]}
    assert titles[first["en"]["section"]] == "优化器与学习率"
    listed = [name for one in told["en"]["sections"] for name in one["arguments"]]
    assert sorted(listed) == sorted(one["name"] for one in told["en"]["arguments"])
