"""Writes: people, their passwords, their API tokens."""

import logging
import secrets
from datetime import datetime

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from loraforge.accounts import access
from loraforge.accounts.access import Action
from loraforge.accounts.models import ApiToken, Role, Secret, SecretKind, User
from loraforge.accounts.sealing import Unsealable, is_stale, seal, unseal
from loraforge.core import audit
from loraforge.core.errors import Conflict, Denied, Invalid, NotFound

TOKEN_BYTES = 32
TOKENS_PER_USER_MAX = 50
SECRET_MAX = 2_000

log = logging.getLogger(__name__)


def _require_administrator(actor: User | None) -> None:
    """None = the platform itself, on a machine's command line."""
    if actor is not None:
        access.require(actor, Action.ADMINISTER)


def _role_apply(user: User, role: str) -> None:
    if role not in Role.values:
        text = _("There is no such role. One of: %(roles)s.") % {"roles": ", ".join(Role.values)}
        raise Invalid("accounts:unknown_role", text, fields={"role": [text]})
    user.role = role
    # Whoever sees everybody's rows may open /admin/; what may be changed there, `access` says.
    user.is_staff = role in {Role.OPERATOR, Role.ADMIN}


def password_check(*, user: User, password: str) -> None:
    """Raise Invalid (`accounts:weak_password`) with the remedy of every rule that it breaks."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        texts = [*error.messages, _("Use 12 or more characters; several words are easiest.")]
        message = _("This password is too weak.") + " " + " ".join(texts)
        raise Invalid("accounts:weak_password", message, fields={"password": texts}) from error


@transaction.atomic
def user_create(*, actor: User | None, username: str, password: str, role: str) -> User:
    """A new person. Raises Invalid with the field, Conflict (`accounts:user_exists`), Denied."""
    _require_administrator(actor)
    if User.objects.filter(username=username).exists():
        text = _("There is a user of this name already.")
        raise Conflict("accounts:user_exists", text, fields={"username": [text]})
    user = User(username=username)
    _role_apply(user, role)
    user.set_password(password)
    try:
        user.full_clean()
    except ValidationError as error:
        text = _("This name or role cannot be used.")
        raise Invalid("accounts:invalid_user", text, fields=error.message_dict) from error
    password_check(user=user, password=password)
    user.save()
    return user


@transaction.atomic
def user_update(
    *,
    actor: User | None,
    user: User,
    role: str | None = None,
    is_active: bool | None = None,
    password: str | None = None,
) -> User:
    """Change what is given. A disabled user's sessions, JWTs and API tokens stop at once."""
    _require_administrator(actor)
    if (
        actor is not None
        and actor.pk == user.pk
        and (is_active is False or role not in {None, user.role})
    ):
        raise Conflict(
            "accounts:own_account", _("Ask another administrator to change your own role.")
        )
    if role is not None:
        _role_apply(user, role)
    if is_active is not None:
        user.is_active = is_active
    user.save()
    if password is not None:
        password_set(actor=actor, user=user, password=password)
    return user


@transaction.atomic
def password_set(*, actor: User | None, user: User, password: str) -> None:
    """Change a password; every session, JWT and API token made before it ends.

    Sessions carry a hash of the password, and JWTs too (CHECK_REVOKE_TOKEN); tokens are deleted.
    """
    if actor is not None and actor.pk != user.pk:
        access.require(actor, Action.ADMINISTER)
    password_check(user=user, password=password)
    user.set_password(password)
    user.save(update_fields=["password"])
    user.api_tokens.all().delete()
    audit.record(actor=actor, target=user, what="accounts:password_set")


def language_set(*, actor: User, language: str) -> User:
    """The language of a person's pages and mails; "" = what the browser asks for."""
    actor.language = language
    actor.save(update_fields=["language"])
    return actor


@transaction.atomic
def token_create(
    *, actor: User, name: str, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """A new API token and its text, which is kept nowhere. Raises Invalid with the field."""
    if not actor.is_active:
        raise Denied("auth:denied", _("This account is disabled."))
    if expires_at is not None and expires_at <= timezone.now():
        text = _("This time is past. Choose one to come.")
        raise Invalid("accounts:expired", text, fields={"expires_at": [text]})
    if actor.api_tokens.count() >= TOKENS_PER_USER_MAX:
        text = _("You have %(count)s API tokens already. Delete one that you no longer use.")
        raise Conflict("accounts:too_many_tokens", text % {"count": TOKENS_PER_USER_MAX})
    text = ApiToken.PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    token = ApiToken.objects.create(
        owner=actor, name=name, digest=ApiToken.digest_of(text), expires_at=expires_at
    )
    token.refresh_from_db(fields=["created_at"])
    return token, text


def token_delete(*, actor: User, token_id: int) -> None:
    """Revoke one of one's own API tokens. Raises NotFound."""
    token = ApiToken.objects.filter(owner=actor, pk=token_id).first()
    if token is None:
        raise NotFound("api:not_found", _("Not found."))
    token.delete()


@transaction.atomic
def secret_put(*, actor: User, kind: str, value: str) -> Secret:
    """Keep a secret of one's own, in place of the one of this kind. Raises Invalid with the field."""
    if kind not in SecretKind.values:
        text = _("There is no such kind of secret. One of: %(kinds)s.")
        text = text % {"kinds": ", ".join(SecretKind.values)}
        raise Invalid("accounts:unknown_secret", text, fields={"kind": [text]})
    value = value.strip()
    if not value or len(value) > SECRET_MAX or not value.isascii() or not value.isprintable():
        text = _(
            "A token is one line of at most %(limit)s letters, digits and signs. Copy it again."
        )
        text = text % {"limit": SECRET_MAX}
        raise Invalid("accounts:bad_secret", text, fields={"value": [text]})
    sealed = seal(value, purpose=Secret(owner=actor, kind=kind).purpose)
    # Two that store the first one at once: the second finds the first one's.
    secret, is_new = Secret.objects.select_for_update().get_or_create(
        owner=actor, kind=kind, defaults={"sealed": sealed}
    )
    if not is_new:
        secret.sealed, secret.changed_at = sealed, timezone.now()
        secret.save()
    secret.refresh_from_db()
    return secret


def secret_delete(*, actor: User, kind: str) -> None:
    """Forget one of one's own secrets. Raises NotFound."""
    secret = Secret.objects.filter(owner=actor, kind=kind).first()
    if secret is None:
        raise NotFound("api:not_found", _("Not found."))
    secret.delete()


def secret_open(*, owner: User, kind: SecretKind) -> str | None:
    """The secret itself, for the node that prepares a job of its owner; None when there is none."""
    secret = Secret.objects.filter(owner=owner, kind=kind).first()
    if secret is None:
        return None
    try:
        text = unseal(bytes(secret.sealed), purpose=secret.purpose)
        secret_reseal(secret=secret)
    except Unsealable:
        log.error("the secret %s of user %s does not open any more", kind, owner.pk)
        return None
    return text


@transaction.atomic
def secret_reseal(*, secret: Secret) -> bool:
    """Seal it with today's key if one of before did; False when it is so already. Raises Unsealable."""
    before = bytes(secret.sealed)
    if not is_stale(before, purpose=secret.purpose):
        return False
    anew = seal(unseal(before, purpose=secret.purpose), purpose=secret.purpose)
    if not Secret.objects.filter(pk=secret.pk, sealed=before).update(sealed=anew):
        return False  # its owner has stored another one meanwhile
    audit.record(actor=None, target=secret, what="accounts:secret_reseal")
    return True


def token_revoke(*, actor: User, token: ApiToken) -> None:
    """End anybody's API token. Raises Denied unless an administrator asks."""
    _require_administrator(actor)
    token.delete()
