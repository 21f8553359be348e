"""Where a model is: a hub id, or a folder of a node. Pure; touches no disk."""

import posixpath
import re
from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

MODELSCOPE = "modelscope"
HUGGINGFACE = "huggingface"
HUBS = (MODELSCOPE, HUGGINGFACE)

Kind = Literal["path", "hub"]
KINDS = (("path", "path"), ("hub", "hub"))

_HUB_ID = re.compile(
    r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}(?::[\w.-]{1,95}(?:/[\w.-]{1,95}){0,5})?",
    re.ASCII,
)
_HOSTS = {
    "modelscope.cn": MODELSCOPE,
    "modelscope.ai": MODELSCOPE,
    "huggingface.co": HUGGINGFACE,
    "hf.co": HUGGINGFACE,
    "hf-mirror.com": HUGGINGFACE,
}


def is_hub_id(text: str) -> bool:
    """``org/name``, and SWIFT's ``org/name:subfolder``."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text


def url_read(text: str) -> tuple[str, str] | None:
    """(id, hub) of an address pasted from a model hub's page; None when it is no such address."""
    given = text if "://" in text else f"https://{text}"
    try:
        parts = urlsplit(given)
    except ValueError:
        return None
    hub = _HOSTS.get((parts.hostname or "").removeprefix("www."))
    if hub is None or parts.scheme not in {"http", "https"}:
        return None
    names = [part for part in parts.path.split("/") if part]
    if names[:1] == ["models"]:
        names = names[1:]
    model_id = "/".join(names[:2])
    return (model_id, hub) if is_hub_id(model_id) else None


def is_path_like(text: str) -> bool:
    """True for what is meant as a folder, absolute or not."""
    return (
        text.startswith(("/", "./", "../", "~", "\\"))
        or re.match(r"[A-Za-z]:[\\/]", text) is not None
    )


def path_normalise(text: str) -> str | None:
    """An absolute path without ``.``, ``..`` and doubled slashes; None when it is not absolute.

    Purely by its letters: a link on this machine's disk says nothing about a node's.
    """
    if not text.startswith("/") or any(ord(letter) < 32 for letter in text):  # noqa: PLR2004
        return None
    return "/" + posixpath.normpath(text).lstrip("/")


def root_of(path: str, roots: Iterable[str]) -> str | None:
    """The root that a normalised path lies in, the deepest first; None when there is none."""
    fitting = [
        root
        for given in roots
        if (root := path_normalise(given)) and PurePosixPath(path).is_relative_to(root)
    ]
    return max(fitting, key=len, default=None)
