"""Pages as the server renders them: for every state, for the right people, with what was asked for."""

import json
import re
import time
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone, translation

from loraforge.accounts.models import ApiToken, Role, User
from loraforge.dashboard import explain, failuretexts
from loraforge.dashboard.formfields import argument_counts, own_arguments
from loraforge.gateway import signatures
from loraforge.instances.models import STATE_LABELS, InstanceEvent
from loraforge.instances.states import State
from loraforge.nodes.models import Device, NodeState
from loraforge.swift.forms.modules import modules_load
from tests.factories.accounts import UserFactory
from tests.factories.training import JobFactory, OnlineNodeFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db

PASSWORD = "correct-horse-battery-42"


@pytest.fixture
def alice() -> User:
    user: User = UserFactory.create(username="alice", role=Role.RESEARCHER)
    user.set_password(PASSWORD)
    user.save()
    return user


@pytest.fixture
def pages(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def job_of(owner: User, **instance: Any) -> Any:
    return JobFactory.create(
        **{f"instance__{key}": value for key, value in {"owner": owner, **instance}.items()}
    )


@pytest.mark.parametrize(
    "path", ["/", "/jobs/", "/jobs/new/", "/jobs/1/", "/datasets/", "/nodes/", "/account/"]
)
def test_who_is_not_signed_in_is_asked_to(path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == 302
    assert answer["Location"].startswith("/login/?next=")


@pytest.mark.parametrize("path", ["/", "/jobs/", "/nodes/"])
def test_a_part_asked_for_after_the_session_ended_is_refused_and_shows_no_sign_in_page(
    path: str,
) -> None:
    answer = Client().get(path, headers={"HX-Request": "true"})
    assert (answer.status_code, answer.content) == (401, b"")


def test_wrong_passwords_and_unknown_names_get_the_same_words(alice: User) -> None:
    for name in (alice.username, "nobody"):
        html = Client().post("/login/", {"username": name, "password": "no"}).content.decode()
        assert "User name or password is wrong." in html


def test_the_history_tells_reasons_in_words(pages: Client, alice: User) -> None:
    job = job_of(alice, state=State.FAILED)
    for reason in ("user:gpu_out_of_memory", "later:unheard_of"):
        InstanceEvent.objects.create(instance=job.instance, target=State.FAILED, reason=reason)
    html = pages.get(f"/jobs/{job.pk}/?tab=history").content.decode()
    assert '<span title="user:gpu_out_of_memory">The GPU ran out of memory.</span>' in html
    assert "<code>later:unheard_of</code>" in html


def test_settings_mark_what_differs_from_the_default(pages: Client, alice: User) -> None:
    job = job_of(alice)
    job.arguments = {"lora_rank": 64, "lora_alpha": 32}
    job.save()
    html = pages.get(f"/jobs/{job.pk}/?tab=settings").content.decode()
    assert html.count(">Changed</span>") == 1
    assert html.index("--lora_rank") < html.index(">Changed</span>") < html.index("--lora_alpha")


def test_a_node_out_of_contact_is_not_called_lost_as_a_job_is() -> None:
    with translation.override("zh-hans"):
        assert (str(NodeState.LOST.label), str(STATE_LABELS[State.LOST])) == ("失联", "已丢失")


def test_a_job_that_has_ended_tells_no_time_left(pages: Client, alice: User) -> None:
    job = job_of(alice, state=State.STOPPED, attempt=1, eta_s=3600, step=5, max_steps=10)
    assert 'data-live="eta"' not in pages.get(f"/jobs/{job.pk}/").content.decode()
    assert "1 h 0 min" not in pages.get("/jobs/").content.decode()


def test_signing_in_leads_home_and_brings_the_own_language(alice: User) -> None:
    alice.language = "zh-hans"
    alice.save()
    client = Client()
    answer = client.post("/login/", {"username": "alice", "password": PASSWORD})
    assert answer["Location"] == "/"
    assert client.cookies["django_language"].value == "zh-hans"


def test_the_language_switch_goes_to_own_addresses_only(pages: Client, alice: User) -> None:
    answer = pages.post("/language/", {"language": "zh-hans", "next": "https://elsewhere.example/"})
    assert answer["Location"] == "/"
    alice.refresh_from_db()
    assert alice.language == "zh-hans"


@pytest.mark.parametrize("state", list(State))
def test_a_job_page_is_complete_in_every_state(pages: Client, alice: User, state: State) -> None:
    job = job_of(
        alice, state=state, failure_reason="user:gpu_out_of_memory" if state is State.FAILED else "",
        failure_detail="CUDA out of memory <b>", saved_step=7 if state is State.STOPPED else None,
    )  # fmt: skip
    for tab in ("overview", "files", "settings", "history"):
        html = pages.get(f"/jobs/{job.pk}/?tab={tab}").content.decode()
        assert f'data-state="{state}"' in html
        if state is not State.STOPPED:
            with translation.override("en"):
                assert str(STATE_LABELS[state]) in html
    if state is State.STOPPED:
        assert "Stopped (saved at step 7)" in html
    if state is State.FAILED:
        assert "CUDA out of memory &lt;b&gt;" in html, "the raw line is text, never markup"


def test_the_way_to_the_first_step_is_shown(pages: Client, alice: User) -> None:
    job = job_of(alice, state=State.PREPARING, attempt=1)
    began = time.time() - 30
    steps: dict[str, dict[str, Any]] = {
        "image": {"began": began, "ended": began + 4.5, "done_bytes": 0, "total_bytes": 0},
        "model": {"began": began + 5, "ended": None, "done_bytes": 37, "total_bytes": 100},
    }
    job.instance.attempts.create(
        number=1,
        node=OnlineNodeFactory.create(),
        preparing_at=timezone.now(),
        steps={name: {**step, "detail": "<b>"} for name, step in steps.items()},
    )
    html = pages.get(f"/jobs/{job.pk}/").content.decode()
    assert "Downloading the model: 37 %" in html
    assert "4.5 s" in html
    assert "<b>" not in html
    history = pages.get(f"/jobs/{job.pk}/?tab=history").content.decode()
    assert history.count("lf-timeline-stage is-now") == 2
    answer = pages.get(f"/api/v1/jobs/{job.pk}/attempts/").json()["results"][0]["timeline"]
    assert [(one["name"], one["seconds"]) for one in answer][-2:] == [
        ("image", 4.5),
        ("model", None),
    ]


@pytest.mark.parametrize(
    ("state", "shown", "hidden"),
    [
        (State.DRAFT, {"start", "delete"}, {"stop", "cancel", "withdraw", "retry"}),
        (State.QUEUED, {"withdraw"}, {"start", "stop", "delete", "retry"}),
        (State.RUNNING, {"stop", "cancel", "checkpoint"}, {"start", "delete", "retry", "withdraw"}),
        (State.SUCCEEDED, {"delete"}, {"stop", "cancel", "checkpoint", "retry", "start"}),
        (State.FAILED, {"retry", "delete"}, {"stop", "cancel", "checkpoint", "start"}),
    ],
)
def test_buttons_fit_the_state(
    pages: Client, alice: User, state: State, shown: set[str], hidden: set[str]
) -> None:
    html = pages.get(f"/jobs/{job_of(alice, state=state).pk}/header/").content.decode()
    found = set(re.findall(r'data-act="(\w+)"', html))
    assert shown <= found
    assert not hidden & found


@pytest.mark.parametrize(
    "reason", sorted({*(reason for reason, _pattern in signatures.RULES), "code:exit"})
)
def test_every_reason_that_the_log_can_tell_has_its_own_words(reason: str) -> None:
    assert reason in failuretexts.FAILURES


@pytest.mark.parametrize(
    ("reason", "offered"),
    [
        ("user:gpu_out_of_memory", False),
        ("code:exception", False),
        ("node:rebooted", True),
        ("runtime:start_failed", True),
    ],
)
def test_retry_is_offered_only_where_it_helps(
    pages: Client, alice: User, reason: str, offered: bool
) -> None:
    job = job_of(alice, state=State.FAILED, failure_reason=reason)
    html = pages.get(f"/jobs/{job.pk}/header/").content.decode()
    assert ('data-act="retry"' in html) is offered


@pytest.mark.parametrize("path", ["", "header/", "tab/files/", "tab/settings/", "tab/history/"])
def test_a_foreign_job_does_not_exist(pages: Client, path: str) -> None:
    job = job_of(UserFactory.create(), name="secret-name")
    answer = pages.get(f"/jobs/{job.pk}/{path}")
    assert answer.status_code == 404
    assert "secret-name" not in answer.content.decode()
    assert pages.get(f"/jobs/new/?from={job.pk}").status_code == 404


def test_the_list_finds_by_number_name_and_state(pages: Client, alice: User) -> None:
    first = job_of(alice, name="alpha-run", state=State.SUCCEEDED)
    job_of(alice, name="beta-run", state=State.QUEUED)
    job_of(UserFactory.create(), name="foreign-run")

    def names(query: str) -> set[str]:
        return set(re.findall(r"(\w+)-run</a>", pages.get(f"/jobs/{query}").content.decode()))

    assert names("") == {"alpha", "beta"}
    assert names(f"?q=%23{first.pk}") == {"alpha"}
    assert names("?q=BETA") == {"beta"}
    assert names("?state=ended") == {"alpha"}
    assert "No job matches" in pages.get("/jobs/?q=zzz").content.decode()


def test_a_live_part_is_sent_only_when_it_has_changed(pages: Client, alice: User) -> None:
    job = job_of(alice, state=State.RUNNING, step=1, max_steps=10)
    version = re.search(r'LF-Version": "(\w+)"', pages.get("/").content.decode())
    assert version is not None
    headers = {"HX-Request": "true", "LF-Version": version[1]}
    assert pages.get("/", headers=headers).status_code == 204
    job.instance.step = 5
    job.instance.save()
    part = pages.get("/", headers=headers)
    assert part.status_code == 200
    assert "50 %" in part.content.decode()
    assert "<html" not in part.content.decode()


def test_a_row_of_the_list_is_made_anew_when_it_changes_and_in_each_language(
    pages: Client, alice: User
) -> None:
    job = job_of(alice, state=State.RUNNING, attempt=1, step=1, max_steps=10)
    assert all(word in pages.get("/jobs/").content.decode() for word in ("Running", "10 %"))
    job.instance.step = 5
    job.instance.save()
    html = pages.get("/jobs/").content.decode()
    assert ("50 %" in html, "10 %" in html) == (True, False)
    html = pages.get("/jobs/", headers={"Accept-Language": "zh-hans"}).content.decode()
    with translation.override("zh-hans"):
        assert str(STATE_LABELS[State.RUNNING]) in html


@pytest.mark.parametrize("jobs", [1, 12])
def test_the_list_asks_a_constant_number_of_queries(
    pages: Client, alice: User, jobs: int, django_assert_max_num_queries: Any
) -> None:
    for _number in range(jobs):
        job_of(alice, state=State.QUEUED)
    with django_assert_max_num_queries(8):
        pages.get("/jobs/")


def test_a_new_job_from_another_carries_its_settings_and_own_datasets_only(
    pages: Client, alice: User
) -> None:
    mine, foreign = ReadyDatasetFactory.create(owner=alice), ReadyDatasetFactory.create()
    job = job_of(alice)
    job.arguments = {"learning_rate": 0.0002, "lora_rank": 16}
    job.save()
    for position, dataset in enumerate((mine, foreign)):
        job.job_datasets.create(dataset=dataset, position=position)
    html = pages.get(f"/jobs/new/?from={job.pk}").content.decode()
    block = re.search(
        r'<script id="form-data" type="application/json">(.*?)</script>', html, re.DOTALL
    )
    assert block is not None
    source = json.loads(block[1])["source"]
    assert source["arguments"] == {"learning_rate": 0.0002, "lora_rank": 16}
    assert mine.pk in source["datasets"]
    assert foreign.pk not in source["datasets"]


def test_a_viewer_is_offered_no_new_job() -> None:
    client = Client()
    client.force_login(UserFactory.create(role=Role.VIEWER))
    assert "/jobs/new/" not in client.get("/").content.decode()
    assert client.get("/jobs/new/").status_code == 403


def test_only_operators_may_cordon_from_the_page(pages: Client) -> None:
    node = OnlineNodeFactory.create(gpus=2, runtime="process")
    html = pages.get(f"/nodes/{node.name}/").content.decode()
    assert "Plain process: no isolation" in html
    assert "data-node-act" not in html
    operator = Client()
    operator.force_login(UserFactory.create(role=Role.OPERATOR))
    assert 'data-node-act="cordon"' in operator.get(f"/nodes/{node.name}/").content.decode()


def test_the_form_is_made_once_for_each_language_and_tells_where_each_argument_is(
    pages: Client,
) -> None:
    html = {}
    for language in ("en", "zh-hans", "en"):
        pages.cookies["django_language"] = language
        html[language] = pages.get("/jobs/new/").content.decode()
        assert html[language].count('data-argument="lora_rank"') == 1
    assert '<span class="lf-label">Learning rate</span>' in html["en"]
    assert '<span class="lf-label">学习率</span>' in html["zh-hans"]
    module = modules_load()["sft"]
    counts = argument_counts(module)
    listed = pages.get("/api/v1/swift/catalogue/?command=sft").json()["arguments"]
    own = own_arguments(module)
    assert counts.total == len(listed)
    assert counts.listed == sum(not row["reserved"] and row["name"] not in own for row in listed)
    assert f"{counts.listed} of SWIFT's {counts.total} arguments" in html["en"]


def test_names_for_type_and_template_are_asked_for_apart(pages: Client) -> None:
    assert "<datalist" not in pages.get("/jobs/new/").content.decode()
    html = pages.get("/jobs/new/names/").content.decode()
    types, templates = re.findall(r'<datalist id="[a-z-]+">(.*?)</datalist>', html, re.DOTALL)
    assert '<option value="qwen2">' in types
    assert '<option value="chatml">' in templates
    assert Client().get("/jobs/new/names/", headers={"HX-Request": "true"}).status_code == 401


@pytest.mark.parametrize("path", ["/", "/jobs/", "/jobs/1/", "/datasets/", "/nodes/", "/nodes/n1/"])
def test_pages_that_renew_their_parts_bring_htmx(pages: Client, alice: User, path: str) -> None:
    OnlineNodeFactory.create(name="n1", gpus=1)
    job = job_of(alice, state=State.RUNNING, attempt=1)
    html = pages.get(path.replace("1/", f"{job.pk}/") if "jobs/1" in path else path).content
    assert html.count(b"dist/htmx") == 1
    assert b"dist/htmx" not in pages.get("/jobs/new/").content


def test_an_api_token_is_shown_once(pages: Client, alice: User) -> None:
    html = pages.post("/account/", {"what": "token", "name": "ci", "days": "30"}).content.decode()
    text = re.search(r"lfp_[\w-]{20,}", html)
    assert text is not None
    assert ApiToken.objects.get(owner=alice).digest == ApiToken.digest_of(text[0])
    assert text[0] not in pages.get("/account/").content.decode()


def test_a_wrong_current_password_changes_nothing(pages: Client, alice: User) -> None:
    body = {"what": "password", "current": "wrong", "password": "another-long-passphrase-7"}
    assert "not your current password" in pages.post("/account/", body).content.decode()
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)
    pages.post("/account/", {**body, "current": PASSWORD})
    alice.refresh_from_db()
    assert alice.check_password("another-long-passphrase-7")
    assert pages.get("/account/").status_code == 200, "one's own session goes on"


def test_rows_of_a_dataset_are_text_and_only_for_who_may_read(pages: Client, alice: User) -> None:
    row = {"messages": [{"role": "user", "content": "<script>x</script>"}]}
    mine = ReadyDatasetFactory.create(owner=alice, preview=[row])
    html = pages.get(f"/datasets/{mine.pk}/").content.decode()
    assert "&lt;script&gt;x" in html
    operator = Client()
    operator.force_login(UserFactory.create(role=Role.OPERATOR))
    seen = operator.get(f"/datasets/{mine.pk}/")
    assert seen.status_code == 200
    assert "&lt;script&gt;x" not in seen.content.decode()
    assert pages.get(f"/datasets/{ReadyDatasetFactory.create().pk}/").status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/jobs/", "/jobs/new/", "/datasets/", "/nodes/", "/account/"]
)
def test_pages_need_no_inline_code_or_style(pages: Client, path: str) -> None:
    answer = pages.get(path)
    html = answer.content.decode()
    assert "'unsafe-inline'" not in answer["Content-Security-Policy"]
    assert not re.findall(r"<script(?![^>]*(?:src=|application/json))", html)
    assert not re.findall(r"\sstyle=|\son[a-z]+=", html)


def test_what_was_written_in_english_is_shown_in_chinese(alice: User) -> None:
    """A CPU slot was named when its node joined, and a resume when it was pressed."""
    node = OnlineNodeFactory.create(name="n1")
    slot = Device(node=node, uuid="cpu-0", kind="cpu", index=0, name="CPU slot 0")
    with translation.override("zh-hans"):
        assert slot.label == "CPU 槽位 0"
        said = explain.detail_words("resume:checkpoint", "checkpoint-111, attempt 1")
    assert said == "checkpoint-111（第 1 次尝试）"
    assert explain.detail_words("resume:checkpoint", "of another form") == "of another form"


def test_an_offline_node_says_since_when_and_why(pages: Client) -> None:
    OnlineNodeFactory.create(name="n1", state=NodeState.OFFLINE, seen_at=timezone.now())
    page = pages.get("/nodes/n1/").content.decode()
    assert "The last heartbeat came <time" in page
    assert "Its node agent has ended" in page


@pytest.mark.parametrize("below", ["", "log/", "artifacts/", "events/"])
def test_a_job_of_somebody_else_is_not_there_whatever_is_asked(pages: Client, below: str) -> None:
    job = JobFactory.create()
    answer = pages.get(f"/api/v1/jobs/{job.pk}/{below}")
    error = answer.json()["error"]
    assert answer.status_code == 404
    assert (error["id"], error["message"]) == (
        "instances:not_found", f"There is no job #{job.pk}."
    )  # fmt: skip
