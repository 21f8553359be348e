"""Signing in and staying signed in: JWT, API token, session; and how each of them ends at once."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.test import APIClient, APIRequestFactory
from rest_framework.throttling import ScopedRateThrottle
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken

from loraforge.accounts import authentication, services
from loraforge.accounts.authentication import JwtAuthentication
from loraforge.accounts.models import ApiToken, Role, User
from loraforge.core.errors import Conflict, Denied, Invalid
from loraforge.core.installed import database_name
from tests.control.conftest import ClientOf, error_of
from tests.factories.accounts import PASSWORD, ApiTokenFactory, UserFactory

pytestmark = pytest.mark.django_db

OTHER = "another long enough phrase"


def sign_in(username: str, password: str = PASSWORD) -> Any:
    body = {"username": username, "password": password}
    return APIClient().post("/api/v1/auth/token/", body)


def with_bearer(text: str) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {text}")
    return client


def renew(refresh: str) -> Any:
    return APIClient().post("/api/v1/auth/token/refresh/", {"refresh": refresh})


def test_sign_in_gives_tokens_that_work(alice: User) -> None:
    pair = sign_in("alice").json()
    me = with_bearer(pair["access"]).get("/api/v1/me/")
    assert me.status_code == 200
    assert me.json()["username"] == "alice"
    assert me.json()["capabilities"] == ["create"]
    assert me.json()["caps"] == {"max_running": 8, "max_running_per_user": 1}
    assert "no-store" in me["Cache-Control"]


@pytest.mark.parametrize("username", ["alice", "nobody"])
def test_a_wrong_password_and_an_unknown_name_look_alike(alice: User, username: str) -> None:
    answer = sign_in(username, "wrong")
    assert answer.status_code == 401
    assert error_of(answer) == error_of(sign_in("somebody else", "wrong"))


def test_a_refresh_token_works_once(alice: User) -> None:
    pair = sign_in("alice").json()
    second = renew(pair["refresh"])
    assert second.status_code == 200
    assert with_bearer(second.json()["access"]).get("/api/v1/me/").status_code == 200
    assert renew(pair["refresh"]).status_code == 401
    assert renew(second.json()["refresh"]).status_code == 200


def test_of_two_renewals_at_once_one_wins(alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other request used the token up after this one found it unused."""
    pair = sign_in("alice").json()
    looked = JwtAuthentication.get_user

    def overtaken(self: JwtAuthentication, token: Any) -> Any:
        RefreshToken(pair["refresh"]).blacklist()
        return looked(self, token)

    monkeypatch.setattr(JwtAuthentication, "get_user", overtaken)
    assert renew(pair["refresh"]).status_code == 401


@pytest.mark.parametrize("text", ["", "x", "a.b.c", "\0", "é" * 50])
def test_a_broken_refresh_token_is_refused(alice: User, text: str) -> None:
    assert renew(text).status_code in {400, 401}


def test_an_access_token_that_was_good_ends_at_its_time(alice: User) -> None:
    token = AccessToken.for_user(alice)
    assert with_bearer(str(token)).get("/api/v1/me/").status_code == 200
    token.set_exp(from_time=timezone.now(), lifetime=timedelta(seconds=-1))
    authentication._known[str(token).encode()] = token  # as if it had been read before its end
    assert with_bearer(str(token)).get("/api/v1/me/").status_code == 401


def test_an_access_token_renews_nothing(alice: User) -> None:
    assert renew(sign_in("alice").json()["access"]).status_code == 401


def test_disabling_a_user_ends_everything_at_once(alice: User) -> None:
    pair = sign_in("alice").json()
    token = ApiTokenFactory.build(owner=alice, text="lfp_abc")
    token.save()
    browser = Client()
    browser.force_login(alice)
    clients = [with_bearer(pair["access"]), with_bearer("lfp_abc"), browser]
    assert [one.get("/api/v1/me/").status_code for one in clients] == [200, 200, 200]
    services.user_update(actor=None, user=alice, is_active=False)
    assert [one.get("/api/v1/me/").status_code for one in clients] == [401, 401, 401]
    assert renew(pair["refresh"]).status_code == 401
    assert sign_in("alice").status_code == 401


def test_a_new_password_ends_everything_at_once(alice: User) -> None:
    pair = sign_in("alice").json()
    ApiTokenFactory.create(owner=alice, text="lfp_abc")
    browser = Client()
    browser.force_login(alice)
    services.password_set(actor=alice, user=alice, password=OTHER)
    clients = [with_bearer(pair["access"]), with_bearer("lfp_abc"), browser]
    assert [one.get("/api/v1/me/").status_code for one in clients] == [401, 401, 401]
    assert renew(pair["refresh"]).status_code == 401
    assert sign_in("alice", OTHER).status_code == 200


def test_too_many_failures_lock_out(alice: User, settings: Any) -> None:
    settings.AXES_ENABLED = True
    for _ in range(settings.AXES_FAILURE_LIMIT):
        last = sign_in("alice", "wrong")
    locked = sign_in("alice")
    assert last.status_code == 429
    assert locked.status_code == 429
    assert error_of(locked)["id"] == "auth:locked_out"
    settings.AXES_ENABLED = False
    assert sign_in("alice").status_code == 200


def test_a_made_up_forwarding_address_is_no_other_client() -> None:
    """Else every guess at a password comes from a new client, and no throttle ever bites."""
    request = APIRequestFactory().post("/", HTTP_X_FORWARDED_FOR="203.0.113.9")
    assert ScopedRateThrottle().get_ident(Request(request)) == "127.0.0.1"


def test_signing_in_is_throttled() -> None:
    from loraforge.accounts.api.views import TokenObtain, TokenRenew  # noqa: PLC0415

    assert TokenObtain.throttle_scope == TokenRenew.throttle_scope == "token"


def test_an_api_token_is_shown_once_and_works(alice: User, client_of: ClientOf) -> None:
    made = client_of(alice).post("/api/v1/tokens/", {"name": "ci"})
    assert made.status_code == 201
    text = made.json()["token"]
    assert text.startswith(ApiToken.PREFIX)
    assert not ApiToken.objects.filter(digest__contains=text).exists()
    listed = client_of(alice).get("/api/v1/tokens/").json()
    assert listed["count"] == 1
    assert "token" not in listed["results"][0]
    assert with_bearer(text).get("/api/v1/me/").json()["username"] == "alice"


def test_an_api_token_makes_no_other(alice: User) -> None:
    ApiTokenFactory.create(owner=alice, text="lfp_abc")
    answer = with_bearer("lfp_abc").post("/api/v1/tokens/", {"name": "child"})
    assert answer.status_code == 403


@pytest.mark.parametrize("seconds", [-1, 0])
def test_an_expired_api_token_is_refused(alice: User, seconds: int) -> None:
    ends = timezone.now() + timedelta(seconds=seconds)
    ApiTokenFactory.create(owner=alice, text="lfp_abc", expires_at=ends)
    assert with_bearer("lfp_abc").get("/api/v1/me/").status_code == 401


def test_a_token_that_is_over_cannot_be_made(alice: User, client_of: ClientOf) -> None:
    body = {"name": "old", "expires_at": "2001-01-01T00:00:00Z"}
    answer = client_of(alice).post("/api/v1/tokens/", body)
    assert answer.status_code == 400
    assert "expires_at" in error_of(answer)["fields"]


def test_others_tokens_cannot_be_deleted(alice: User, olga: User, client_of: ClientOf) -> None:
    token = ApiTokenFactory.create(owner=alice)
    address = f"/api/v1/tokens/{token.pk}/"
    assert client_of(olga).delete(address).status_code == 404
    assert client_of(alice).delete(address).status_code == 204
    assert not ApiToken.objects.exists()


def test_the_language_is_kept(alice: User, client_of: ClientOf) -> None:
    client = client_of(alice)
    assert client.patch("/api/v1/me/", {"language": "zh-hans"}).json()["language"] == "zh-hans"
    assert client.patch("/api/v1/me/", {"language": "xx"}).status_code == 400
    alice.refresh_from_db()
    assert alice.language == "zh-hans"


def test_nobody_makes_themselves_more(alice: User, client_of: ClientOf) -> None:
    client_of(alice).patch("/api/v1/me/", {"language": "en", "role": "admin", "is_staff": True})
    alice.refresh_from_db()
    assert (alice.role, alice.is_staff) == (Role.RESEARCHER, False)


@pytest.mark.parametrize("password", ["short", "password1234", "123456789012", "carol-carol-carol"])
def test_weak_passwords_are_refused_with_the_remedy(db: None, password: str) -> None:
    if password.startswith("carol"):
        password = "carolcarolcarol"
    with pytest.raises(Invalid) as caught:
        services.user_create(
            actor=None, username="carolcarolcarol", password=password, role=Role.RESEARCHER
        )
    assert "12 or more" in " ".join(caught.value.fields["password"])
    assert not User.objects.exists()


def test_only_administrators_make_people(olga: User) -> None:
    with pytest.raises(Denied):
        services.user_create(actor=olga, username="x", password=PASSWORD, role=Role.VIEWER)
    admin = UserFactory.create(admin=True)
    services.user_create(actor=admin, username="x", password=PASSWORD, role=Role.OPERATOR)
    assert User.objects.get(username="x").is_staff
    with pytest.raises(Conflict):
        services.user_update(actor=admin, user=admin, is_active=False)


def test_user_add(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.delenv("LORAFORGE_PASSWORD", raising=False)
    with pytest.raises(CommandError, match="LORAFORGE_PASSWORD"):
        call_command("user_add", "carol")
    monkeypatch.setenv("LORAFORGE_PASSWORD", "weak")
    with pytest.raises(CommandError, match="12 or more"):
        call_command("user_add", "carol")
    monkeypatch.setenv("LORAFORGE_PASSWORD", PASSWORD)
    call_command("user_add", "carol", role="operator")
    assert f"in {database_name()}" in capsys.readouterr().out
    carol = User.objects.get(username="carol")
    assert carol.role == Role.OPERATOR
    assert carol.check_password(PASSWORD)
    with pytest.raises(CommandError, match="--update"):
        call_command("user_add", "carol")


@pytest.mark.parametrize("command", ["user_add", "node_add"])
def test_before_the_first_start_the_remedy_is_said(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("LORAFORGE_PASSWORD", PASSWORD)
    monkeypatch.setattr(connection.introspection, "table_names", list)
    with pytest.raises(CommandError, match="make up"):
        call_command(command, "carol")


def test_user_add_again_keeps_what_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAFORGE_PASSWORD", PASSWORD)
    call_command("user_add", "carol")
    carol = User.objects.get(username="carol")
    before = carol.password
    ApiTokenFactory.create(owner=carol)
    call_command("user_add", "carol", role="viewer", update=True)
    carol.refresh_from_db()
    assert (carol.role, carol.password) == (Role.VIEWER, before)
    assert carol.api_tokens.count() == 1
    monkeypatch.setenv("LORAFORGE_PASSWORD", OTHER)
    call_command("user_add", "carol", update=True)
    carol.refresh_from_db()
    assert carol.check_password(OTHER)
    assert not carol.api_tokens.exists()
