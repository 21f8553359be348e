"""API tokens for programs: ``Authorization: Bearer lfp_...``; JWT and session stand beside it."""

from django.utils import timezone
from django.utils.translation import gettext as _
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request

from loraforge.accounts.models import ApiToken, User

# A used token's time is written at most this often, so that a busy program costs no write per call.
USED_EVERY_S = 60


class ApiTokenAuthentication(BaseAuthentication):
    """Accepts a bearer that begins with the token prefix; leaves every other one to the next class."""

    keyword = "Bearer"

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """The token's owner. Raises AuthenticationFailed for a wrong, expired or disabled one."""
        parts = get_authorization_header(request).decode("latin-1").split()
        if len(parts) != 2 or parts[0].lower() != "bearer" or not parts[1].startswith(ApiToken.PREFIX):
            return None
        token = ApiToken.objects.select_related("owner").filter(digest=ApiToken.digest_of(parts[1])).first()
        now = timezone.now()
        if token is None or not token.owner.is_active or (token.expires_at and token.expires_at < now):
            raise AuthenticationFailed(_("This API token is wrong or has expired; make a new one under API tokens."))
        if token.last_used_at is None or (now - token.last_used_at).total_seconds() > USED_EVERY_S:
            ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)
        return token.owner, token

    def authenticate_header(self, request: Request) -> str:
        """So that a refusal is 401, not 403."""
        return self.keyword
