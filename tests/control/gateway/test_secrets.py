"""Secrets of people: sealed, replaced, deleted, handed to a node of one's own job, and shown nowhere."""

import json
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
from auditlog.models import LogEntry
from cryptography.exceptions import InvalidTag
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from loraforge.accounts import sealing, services
from loraforge.accounts.models import Secret, SecretKind, User
from loraforge.accounts.sealing import Unsealable, seal, unseal
from loraforge.core.errors import Invalid, NotFound
from loraforge.gateway import dispatch
from loraforge.gateway.secrets import secret_url
from loraforge.instances.models import Attempt
from loraforge.nodes.services import node_add, node_token_renew
from tests.control.conftest import ClientOf
from tests.factories.accounts import UserFactory

if TYPE_CHECKING:
    import redis

pytestmark = pytest.mark.django_db

CANARY = "hf_C4n4ryC4n4ryC4n4ryC4n4ry"
ADDRESS = "/api/v1/me/secrets/"


def test_a_sealed_text_opens_for_its_purpose_and_key_only(settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    sealed = seal("text", purpose="1:wandb")
    assert b"text" not in sealed
    assert sealed != seal("text", purpose="1:wandb")
    with pytest.raises(Unsealable):
        unseal(sealed, purpose="2:wandb")
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    assert unseal(sealed, purpose="1:wandb") == "text"
    settings.SECRET_KEY_FALLBACKS = []
    with pytest.raises(Unsealable):
        unseal(sealed, purpose="1:wandb")
    with pytest.raises(Unsealable):
        unseal(b"", purpose="1:wandb")
    assert issubclass(InvalidTag, Exception)
    assert sealing.NONCE_BYTES == 12


@pytest.mark.parametrize("by", ["a job", "the command"])
def test_a_secret_of_a_key_of_before_is_sealed_anew(alice: User, settings: Any, by: str) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    services.secret_put(actor=alice, kind="wandb", value=CANARY)
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["old"]
    for word in ("1 sealed anew", "0 sealed anew"):
        if by == "a job":
            assert services.secret_open(owner=alice, kind=SecretKind.WANDB) == CANARY
        else:
            out = StringIO()
            call_command("secrets_reseal", stdout=out)
            assert out.getvalue().strip() == word
    settings.SECRET_KEY_FALLBACKS = []
    assert services.secret_open(owner=alice, kind=SecretKind.WANDB) == CANARY
    words = LogEntry.objects.values_list("additional_data", flat=True)
    assert [one for one in words if one] == [{"what": "accounts:secret_reseal"}]


def test_a_secret_that_no_key_opens_is_named(alice: User, settings: Any) -> None:
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "old", []
    services.secret_put(actor=alice, kind="wandb", value=CANARY)
    settings.SECRET_KEY = "new"
    with pytest.raises(CommandError, match=f"wandb of {alice}.*SECRET_KEY_FALLBACKS"):
        call_command("secrets_reseal", stdout=StringIO())
    assert services.secret_open(owner=alice, kind=SecretKind.WANDB) is None


def test_a_secret_is_put_replaced_and_deleted(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    made = client.put(f"{ADDRESS}huggingface/", {"value": f" {CANARY}\n"}, format="json")
    assert made.status_code == 200, made.content
    assert set(made.json()) == {"kind", "created_at", "changed_at"}
    assert services.secret_open(owner=alice, kind=SecretKind.HUGGINGFACE) == CANARY
    client.put(f"{ADDRESS}huggingface/", {"value": "second"}, format="json")
    assert services.secret_open(owner=alice, kind=SecretKind.HUGGINGFACE) == "second"
    assert [row["kind"] for row in client.get(ADDRESS).json()["results"]] == ["huggingface"]
    assert client_of(UserFactory.create()).get(ADDRESS).json()["results"] == []
    assert client.delete(f"{ADDRESS}huggingface/").status_code == 204
    assert client.delete(f"{ADDRESS}huggingface/").status_code == 404
    assert services.secret_open(owner=alice, kind=SecretKind.HUGGINGFACE) is None


@pytest.mark.parametrize(
    ("kind", "value", "field"),
    [("github", "x", "kind"), ("wandb", "two\nlines", "value"), ("wandb", " ", "value")],
)
def test_a_bad_secret_names_the_field(alice: User, kind: str, value: str, field: str) -> None:
    with pytest.raises(Invalid) as caught:
        services.secret_put(actor=alice, kind=kind, value=value)
    assert list(caught.value.fields) == [field]


def test_the_account_page_stores_and_never_shows(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    form = {"what": "secret", "kind": "wandb", "value": CANARY}
    html = client.post("/account/", form, follow=True).content.decode()
    assert "Weights &amp; Biases API key" in html
    assert CANARY not in html
    again = client.post("/account/", {**form, "value": "a\tb" + CANARY}).content.decode()
    assert "lf-error" in again
    assert CANARY not in again
    client.post("/account/", {"what": "secret_delete", "kind": "wandb"})
    assert not Secret.objects.exists()


def everything_in_sql() -> str:
    with connection.cursor() as cursor:
        found = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            found.append(repr(cursor.fetchall()))
    return "".join(found)


@pytest.mark.redis
def test_the_canary_is_nowhere(
    attempt: Attempt, broker: str, client: "redis.Redis", caplog: pytest.LogCaptureFixture
) -> None:
    owner = attempt.instance.owner
    services.secret_put(actor=owner, kind="huggingface", value=CANARY)
    services.secret_put(actor=owner, kind="wandb", value=CANARY)
    job = attempt.instance.job
    job.arguments = {"report_to": ["wandb"]}
    job.fetches = [{"target": "/lf/model", "kind": "model", "hub": "huggingface", "repo": "a/b"}]
    job.save()
    start = dispatch.start_build(attempt)
    assert start.network
    assert [one.name for one in start.secrets] == ["WANDB_API_KEY"]
    assert start.fetches[0].user == str(owner.pk)
    assert dispatch.start_send(instance_id=attempt.instance_id, attempt=1)
    api = APIClient()
    api.force_authenticate(owner)
    pages = [
        api.get(f"/api/v1/{one}") for one in ("me/", "me/secrets/", f"jobs/{job.pk}/attempts/")
    ]
    dumped = [client.dump(key) for key in client.keys("*")]
    assert dumped
    secret = repr(dumped) + repr([page.content for page in pages]) + caplog.text
    secret += everything_in_sql() + json.dumps(
        list(LogEntry.objects.values_list("changes", flat=True)), default=str
    )
    assert CANARY not in secret
    assert LogEntry.objects.filter(object_repr="Weights & Biases API key").exists()


def test_a_node_gets_the_secret_of_its_own_live_attempt_only(attempt: Attempt) -> None:
    owner = attempt.instance.owner
    url = secret_url(attempt=attempt, kind=SecretKind.MODELSCOPE)
    token = node_token_renew(actor=None, node=attempt.node)
    own = APIClient(HTTP_AUTHORIZATION=f"Bearer {token}")
    assert own.get(url).status_code == 404, "there is none yet"
    services.secret_put(actor=owner, kind="modelscope", value=CANARY)
    answer = own.get(url)
    assert (answer.status_code, answer.content.decode()) == (200, CANARY)
    assert answer["Cache-Control"] == "no-store"
    assert APIClient().get(url).status_code == 401
    person = APIClient()
    person.force_authenticate(owner)
    assert person.get(url).status_code in {401, 403}
    other = node_add(actor=None, name="n2")[1]
    assert APIClient(HTTP_AUTHORIZATION=f"Bearer {other}").get(url).status_code == 404
    assert own.get(f"{url[:-3]}xx/").status_code == 404
    Attempt.objects.filter(pk=attempt.pk).update(ended_at=attempt.assigned_at)
    assert own.get(url).status_code == 404, "its attempt has ended"


def test_a_secret_of_nobody_is_not_found(alice: User) -> None:
    with pytest.raises(NotFound):
        services.secret_delete(actor=alice, kind="wandb")
