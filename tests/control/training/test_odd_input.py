"""Odd input: 400 with the field's name, never a 500, and nothing left behind."""

from typing import Any
from urllib.parse import quote, urlencode

import pytest
import schemathesis
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from loraforge.accounts.models import User
from loraforge.training.models import Job
from tests.architecture.test_house import ROOT
from tests.control.conftest import ClientOf, error_of
from tests.factories.accounts import UserFactory
from tests.factories.training import MODEL, JobFactory, ReadyDatasetFactory

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/jobs/"

DEEP: Any = {}
for _level in range(200):
    DEEP = {"a": DEEP}
HUGE = 10**30

ODD = [
    ("name", "x" * 1000),
    ("name", "a\0b"),
    ("name", {"a": 1}),
    ("name", "\u202etxet"),
    ("command", 7),
    ("command", None),
    ("arguments", "lora_rank=8"),
    ("arguments", [1]),
    ("arguments", {"lora_rank": HUGE}),
    ("arguments", {"lora_rank": "8; rm -rf /"}),
    ("arguments", {"lora_rank": {"a": 1}}),
    ("arguments", {"lora_rank": DEEP}),
    ("arguments", {"lora_rank": [[1]]}),
    ("arguments", {"": 1}),
    ("arguments", {"x" * 10_000: 1}),
    ("arguments", {"a\0b": 1}),
    ("arguments", {"system": "a\0b"}),
    ("arguments", {"system": "x" * 200_000}),
    ("arguments", {"learning_rate": "nan"}),
    ("arguments", {"learning_rate": "1e999"}),
    ("arguments", {"model_kwargs": '{"a": "\\u0000"}'}),
    ("arguments", {f"a{number}": 1 for number in range(2000)}),
    ("arguments", {"target_modules": ["x"] * 2001}),
    ("arguments", {"dataset": ["/x"] * 2001}),
    ("arguments", {"system": "x" * 99_999, "target_modules": ["y" * 99_999] * 10}),
    ("model", 7.5e300),
    ("model", "../../etc"),
    ("model", "/etc"),
    ("model", "-flag/x"),
    ("model", "x" * 1000),
    ("datasets", "all"),
    ("datasets", ["one"]),
    ("datasets", [HUGE]),
    ("datasets", [-1]),
    ("datasets", [True]),
    ("datasets", [2**63 - 1]),
    ("datasets", list(range(1, 500))),
    ("gpus", "many"),
    ("gpus", HUGE),
    ("gpus", -1),
    ("gpus", 1.5),
    ("gpu_uuids", ["x" * 1000]),
    ("gpu_uuids", "GPU-1"),
    ("gpu_uuids", ["a\0b"]),
    ("node", "x" * 1000),
    ("node", ["n1"]),
    ("processes", HUGE),
    ("priority", 2**70),
    ("tags", "one"),
    ("tags", ["x" * 1000]),
    ("tags", [["x"]]),
    ("notes", "x" * 100_000),
    ("start", "perhaps"),
    ("parent", "1_0"),
]


@pytest.mark.parametrize(("field", "value"), ODD, ids=lambda value: str(value)[:40])
def test_an_odd_value_is_a_400_with_its_field(
    alice: User, client_of: ClientOf, field: str, value: Any
) -> None:
    dataset = ReadyDatasetFactory.create(owner=alice)
    body = {"model": MODEL, "datasets": [dataset.pk], field: value}
    answer = client_of(alice).post(ADDRESS, body)
    assert answer.status_code == 400
    assert any(name.split(".")[0] == field for name in error_of(answer)["fields"])
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("field", "wrong"), [("datasets", "a"), ("tags", []), ("gpu_uuids", None), ("tags", 0)]
)
def test_a_list_without_end_is_refused_by_its_length(
    alice: User, client_of: ClientOf, field: str, wrong: Any
) -> None:
    """Not by a text for every item: that took a minute and gave fifty megabytes."""
    answer = client_of(alice).post(ADDRESS, {field: [wrong] * 50_000})
    assert answer.status_code == 400
    assert list(error_of(answer)["fields"]) == [field]
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b"null",
        b"[" * 100_000,
        b'{"arguments": ' + b'{"a":' * 50_000,
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"gpus": NaN}',
        b'{"gpus": 1e999}',
        b"\0",
    ],
    ids=lambda body: str(body[:20]),
)
@pytest.mark.parametrize("method", ["post", "put", "patch"])
def test_a_body_that_cannot_be_read_is_a_400(alice: User, body: bytes, method: str) -> None:
    job = JobFactory.create(owner=alice)
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    address = ADDRESS if method == "post" else f"{ADDRESS}{job.pk}/"
    answer = getattr(client, method)(address, data=body, content_type="application/json")
    # nothing to change is nothing wrong
    assert answer.status_code in ({400, 200} if method == "patch" and not body else {400})


@pytest.mark.parametrize(
    "number", ["0", "-1", "9" * 26, "9" * 5000, "1e3", "%00", "1%00", "a", "%D9%A1"]
)
@pytest.mark.parametrize(
    "address",
    [
        *(f"jobs/%s/{rest}" for rest in ("", "attempts/", "log/", "artifacts/", "shares/")),
        *("datasets/%s/", "datasets/%s/rows/", "instances/%s/"),
    ],
)
def test_odd_numbers_are_a_404(alice: User, client_of: ClientOf, number: str, address: str) -> None:
    assert client_of(alice).get(f"/api/v1/{address % number}").status_code == 404


@pytest.mark.parametrize(
    "address",
    [
        "/api/v1/jobs/JOB/artifacts/x%00y",
        "/api/v1/jobs/JOB/shares/a%00b/",
    ],
)
@pytest.mark.parametrize("method", ["get", "delete"])
def test_nothing_lies_at_an_address_with_a_zero_byte(
    alice: User,
    client: Client,
    address: str,
    method: str,
    django_assert_max_num_queries: Any,
) -> None:
    """Not even a question to the database: PostgreSQL refuses it as an error of ours."""
    client.force_login(alice)
    job = JobFactory.create(owner=alice)
    with django_assert_max_num_queries(2):  # who asks
        answer = getattr(client, method)(address.replace("JOB", str(job.pk)))
    assert answer.status_code == 404


@pytest.mark.parametrize("number", ["9" * 26, "9" * 5000, "\u0661", "-1", "\0", ""])
@pytest.mark.parametrize("address", ["/jobs/new/placement/?gpus=", "/jobs/new/?from="])
def test_odd_numbers_in_a_pages_address(
    alice: User, client: Client, number: str, address: str
) -> None:
    client.force_login(alice)
    assert client.get(address + quote(number)).status_code in {200, 400, 404}


@pytest.mark.parametrize("address", ["/jobs/?q=a%00", "/admin/instances/instance/?state=%00"])
def test_no_page_is_asked_about_a_zero_byte(olga: User, client: Client, address: str) -> None:
    client.force_login(olga)
    assert client.get(address).status_code == 400


@pytest.mark.parametrize("words", ["\0", "1\r\nX-Made: up", "\x7f", "2"])
def test_the_schema_has_one_version_and_no_words_of_the_asker(
    alice: User, client: Client, words: str
) -> None:
    """Its headers would carry them: Django refuses some, the web server cuts the connection at others."""
    client.force_login(alice)
    answer = client.get("/api/schema/?version=" + quote(words))
    assert answer.status_code == 200
    assert answer["Content-Disposition"] == 'inline; filename="LoRAForge.yaml"'


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
NAMES = (
    "lora_rank", "learning_rate", "tuner_type", "target_modules", "system", "model_kwargs",
    "deepspeed", "bf16", "seed", "dataset", "model", "model_type", "lr_scheduler_kwargs",
)  # fmt: skip


@hypothesis_settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(arguments=st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=12), json_values))
def test_any_arguments_are_judged(alice: User, arguments: dict[str, Any]) -> None:
    client = Client(raise_request_exception=False)
    client.force_login(alice)
    body = {"model": MODEL, "arguments": arguments}
    try:
        answer = client.post("/api/v1/swift/preview/", body, content_type="application/json")
    except UnicodeEncodeError:
        return  # no client can send a lone surrogate
    assert answer.status_code in {200, 400}


schema = schemathesis.openapi.from_path(ROOT / "docs" / "openapi.yaml")


@pytest.mark.slow
@pytest.mark.timeout(600)
@schema.include(path_regex=r"/api/v1/(jobs/|swift/|me/|tokens/|audit/|auth/)").parametrize()
@hypothesis_settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    database=None,
    derandomize=True,
)
def test_what_the_schema_allows_never_breaks_the_server(case: Any) -> None:
    user = User.objects.filter(username="fuzz").first() or UserFactory.create(
        username="fuzz", operator=True
    )
    client = Client(raise_request_exception=False)
    client.force_login(user)
    sent = case.as_transport_kwargs(base_url="http://testserver")
    headers = {
        key: value
        for key, value in dict(sent.get("headers") or {}).items()
        if key.lower() not in {"content-type", "user-agent", "accept-encoding"}
    }
    answer = client.generic(
        case.method,
        f"{case.formatted_path}?{case_query(sent)}",
        data=case_body(sent),
        content_type="application/json",
        headers=headers,
    )
    assert answer.status_code < 500 or answer.status_code == 503, answer.content[:2000]


def case_query(sent: dict[str, Any]) -> str:
    """The query that schemathesis would send."""
    params = sent.get("params") or ""
    if isinstance(params, bytes):
        params = params.decode("latin-1")
    return params if isinstance(params, str) else urlencode(params, doseq=True)


def case_body(sent: dict[str, Any]) -> bytes:
    """The bytes that schemathesis would send."""
    import json  # noqa: PLC0415

    if sent.get("json") is not None:
        return json.dumps(sent["json"]).encode()
    data = sent.get("data") or b""
    return data if isinstance(data, bytes) else str(data).encode()


@pytest.mark.parametrize("text", ["1_0", "١٢"])
def test_a_number_in_words_of_python_alone_is_none(client_of: ClientOf, text: str) -> None:
    client = client_of(UserFactory.create())
    answer = client.post(ADDRESS, {"model": MODEL, "gpus": text, "start": False}, format="json")
    assert (answer.status_code, list(error_of(answer)["fields"])) == (400, ["gpus"])
    answer = client.get(ADDRESS, {"page_size": text})
    assert (answer.status_code, list(error_of(answer)["fields"])) == (400, ["page_size"])
    assert client.get(ADDRESS, {"page": text}).status_code == 404
