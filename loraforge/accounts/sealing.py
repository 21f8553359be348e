"""Sealing of people's secrets: ChaCha20-Poly1305 with a key derived from the platform's own. Pure.

A sealed text is bound to what it is for, so a row that is copied to another user does not open. Keys
rotate like Django's signatures: sealed with SECRET_KEY, opened with it or any of SECRET_KEY_FALLBACKS.
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
    nonce, body = sealed[:NONCE_BYTES], sealed[NONCE_BYTES:]
    if len(nonce) < NONCE_BYTES:
        raise Unsealable
    for cipher in _ciphers():
        try:
            return cipher.decrypt(nonce, body, purpose.encode()).decode()
        except InvalidTag:
            continue
    raise Unsealable
