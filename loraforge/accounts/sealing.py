"""Sealing of people's secrets: ChaCha20-Poly1305 with a key derived from the platform's own. Pure.

A sealed text is bound to what it is for, so a row that is copied to another user does not open. Keys
rotate like Django's signatures: sealed with SECRET_KEY, opened with it or any of SECRET_KEY_FALLBACKS, and
`is_stale` says which must be sealed anew before a fallback may go.
"""

import os
from collections.abc import Iterator

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings

INFO = b"loraforge.accounts.secret.v1"
NONCE_BYTES = 12


class Unsealable(Exception):
    """None of today's keys opens it: SECRET_KEY was changed without a fallback, or the row was tampered with."""


def _ciphers() -> Iterator[ChaCha20Poly1305]:
    for key in (settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS):
        derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=INFO).derive(key.encode())
        yield ChaCha20Poly1305(derived)


def seal(text: str, *, purpose: str) -> bytes:
    """The text as it may be stored."""
    nonce = os.urandom(NONCE_BYTES)
    return nonce + next(_ciphers()).encrypt(nonce, text.encode(), purpose.encode())


def unseal(sealed: bytes, *, purpose: str) -> str:
    """The text behind `seal`. Raises Unsealable."""
    return _opened(sealed, purpose)[0]


def is_stale(sealed: bytes, *, purpose: str) -> bool:
    """Whether a key of before sealed it, and it opens only while that one is a fallback. Raises Unsealable."""
    return _opened(sealed, purpose)[1] > 0


def _opened(sealed: bytes, purpose: str) -> tuple[str, int]:
    """The text, and which of the keys opens it."""
    nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    if len(nonce) < NONCE_BYTES:
        raise Unsealable
    for number, cipher in enumerate(_ciphers()):
        try:
            return cipher.decrypt(nonce, body, purpose.encode()).decode(), number
        except InvalidTag:
            continue
    raise Unsealable
