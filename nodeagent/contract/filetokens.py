"""Tokens for a node's file service: one method, one path, one user, at most five minutes.

HMAC-SHA-256 over the claims with the node's file key; compared in constant time.
"""

import hashlib
import hmac
import re
import time

MAX_AGE_S = 300
_SECONDS = re.compile(r"[0-9]{1,12}")  # Python refuses to read a number of some thousand digits


class TokenError(ValueError):
    """The token is malformed, expired, or for another method or path."""


def _mac(key: bytes, method: str, path: str, user: str, expires: int) -> str:
    claims = "\n".join((method, path, user, str(expires))).encode()
    return hmac.new(key, claims, hashlib.sha256).hexdigest()


def token_sign(
    *,
    key: bytes,
    method: str,
    path: str,
    user: str,
    now: float | None = None,
    age_s: int = MAX_AGE_S,
) -> str:
    """A token ``<expires>.<user>.<mac>`` for exactly this method and decoded path (no query)."""
    if "." in user or "\n" in user or "\n" in path:
        raise ValueError("a user id or path with a delimiter cannot be signed")
    expires = int((time.time() if now is None else now) + min(age_s, MAX_AGE_S))
    return f"{expires}.{user}.{_mac(key, method, path, user, expires)}"


def token_verify(
    *, key: bytes, method: str, path: str, token: str, now: float | None = None
) -> str:
    """The user whom the token was signed for. Raises TokenError."""
    match token.split("."):
        case [until, user, mac] if _SECONDS.fullmatch(until):
            expires = int(until)
        case _:
            raise TokenError("malformed token")
    if not hmac.compare_digest(mac.encode(), _mac(key, method, path, user, expires).encode()):
        raise TokenError("this token is for another method or path")
    if expires < (time.time() if now is None else now):
        raise TokenError("this token has expired")
    return user
