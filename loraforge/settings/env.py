"""The environment, read in one place. Every setting has a default that works on one machine."""

import os
import re
import secrets
from pathlib import Path
from zoneinfo import ZoneInfo

import environ
from django.core.exceptions import ImproperlyConfigured

BASE_DIR = Path(__file__).resolve().parent.parent.parent

env = environ.Env()


def data_folder() -> Path:
    """`LORAFORGE_DATA`: everything that is not code; made for nobody but its owner."""
    folder = Path(env.str("LORAFORGE_DATA", default=str(BASE_DIR / "var"))).expanduser().resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def secret_key(folder: Path) -> str:
    """`LORAFORGE_SECRET_KEY`, else a key made once and kept in the data folder (mode 0600)."""
    given = env.str("LORAFORGE_SECRET_KEY", default="")
    if given:
        return str(given)
    path = folder / "secret_key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_text(encoding="ascii").strip()
    key = secrets.token_urlsafe(64)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(key)
    return key


def currency(given: str) -> str:
    """`LORAFORGE_CURRENCY`: three capital letters of ISO 4217. Raises ImproperlyConfigured."""
    if not re.fullmatch(r"[A-Z]{3}", given):
        raise ImproperlyConfigured(
            f"LORAFORGE_CURRENCY is three capital letters such as EUR or CNY, not {given!r}"
        )
    return given


def time_zone(given: str) -> str:
    """`LORAFORGE_BILLING_TIME_ZONE`: a name of the tz database. Raises ImproperlyConfigured."""
    try:
        ZoneInfo(given)
    except (OSError, ValueError) as error:
        raise ImproperlyConfigured(
            "LORAFORGE_BILLING_TIME_ZONE is a name of the tz database such as Asia/Shanghai "
            f"or Europe/Berlin, not {given!r}"
        ) from error
    return given
