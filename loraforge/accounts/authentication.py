"""API tokens for programs (``Authorization: Bearer lfp_...``), and how JWTs are issued and renewed.

A JWT names its user and a hash of the password: a disabled user's, or one made before the password
changed, is refused at its next use, for renewing too.
"""

import time
from typing import Any

from django.contrib.auth import authenticate
from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication
from rest_framework_simplejwt.exceptions import TokenError
from rest_framework_simplejwt.settings import api_settings
from rest_framework_simplejwt.tokens import RefreshToken, Token
from rest_framework_simplejwt.utils import get_md5_hash_password

from loraforge.accounts.models import ApiToken, User
from loraforge.core.columns import row_by_key

# A used token's time is written at most this often, so that a busy program costs no write per call.
USED_EVERY_S = 60
JWTS_KEPT = 1000

# JWTs whose signature was found right, by their text. What is in one never changes; its time is looked at, and its
# user asked for, at each use.
_known: dict[bytes, Token] = {}


class JwtAuthentication(JWTAuthentication):
    """The library's, without reading a token, and writing the SQL of its user, anew for each request."""

    def get_validated_token(self, raw_token: bytes) -> Token:
        """Raises InvalidToken."""
        known = _known.get(raw_token)
        if known is None or known["exp"] <= time.time():
            known = super().get_validated_token(raw_token)
            if len(_known) >= JWTS_KEPT:
                _known.clear()
            _known[raw_token] = known
        return known

    def get_user(self, validated_token: Token) -> Any:
        """Raises AuthenticationFailed, the same for every cause."""
        user = row_by_key(User, int(validated_token.get(api_settings.USER_ID_CLAIM, 0)))
        if user is None or not user.is_active or not _is_of_password(validated_token, user):
            raise AuthenticationFailed(_("Please sign in again."))
        return user


def _is_of_password(token: Token, user: User) -> bool:
    made_with = token.get(api_settings.REVOKE_TOKEN_CLAIM)
    return bool(made_with == get_md5_hash_password(user.password))


class ApiTokenAuthentication(BaseAuthentication):
    """Accepts a bearer that begins with the token prefix; the next class looks at any other."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """The token's owner. Raises AuthenticationFailed for a wrong, expired or disabled one."""
        header = get_authorization_header(request).decode("latin-1")
        scheme, _blank, text = header.partition(" ")
        if scheme.lower() != "bearer" or not text.startswith(ApiToken.PREFIX):
            return None
        digest = ApiToken.digest_of(text)
        token = ApiToken.objects.select_related("owner").filter(digest=digest).first()
        now = timezone.now()
        is_expired = token is not None and token.expires_at is not None and token.expires_at <= now
        if token is None or not token.owner.is_active or is_expired:
            raise AuthenticationFailed(
                _("This API token is wrong or has expired. Make a new one under API tokens.")
            )
        used = token.last_used_at
        if used is None or (now - used).total_seconds() > USED_EVERY_S:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        """So that a refusal is 401, not 403."""
        return self.keyword


def _pair(refresh: RefreshToken) -> dict[str, str]:
    return {"access": str(refresh.access_token), "refresh": str(refresh)}


def tokens_issue(*, request: HttpRequest, username: str, password: str) -> dict[str, str]:
    """An access and a refresh token. Raises AuthenticationFailed, the same for every cause.

    After too many failures django-axes refuses without looking at the password; its middleware then
    answers 429 in place of what is raised here.
    """
    user = authenticate(request=request, username=username, password=password)
    if not isinstance(user, User):
        raise AuthenticationFailed(_("Wrong user name or password."))
    return _pair(RefreshToken.for_user(user))


def tokens_renew(*, refresh: str) -> dict[str, str]:
    """A new pair for a refresh token, which works once. Raises AuthenticationFailed."""
    refused = AuthenticationFailed(_("Please sign in again."))
    try:
        token: Any = RefreshToken(refresh)  # type: ignore[arg-type]
        user = JwtAuthentication().get_user(token)
        _kept, is_first = token.blacklist()
    except (TokenError, AuthenticationFailed, ValueError, OverflowError) as error:
        raise refused from error
    if not is_first:
        raise refused  # another request used it up since it was looked at
    return _pair(RefreshToken.for_user(user))
