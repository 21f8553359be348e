"""Where a model is: a hub id, or a folder of a node. Pure; touches no disk."""

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import parse_qs, unquote, urlsplit

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
_BEFORE_REVISION = frozenset({"tree", "blob", "resolve", "raw", "commit"})
_REVISION = re.compile(r"[A-Za-z0-9][\w./-]{0,79}", re.ASCII)
_DEFAULTS = frozenset({"main", "master"})


def is_hub_id(text: str) -> bool:
    """``org/name``, and SWIFT's ``org/name:subfolder``."""
    return _HUB_ID.fullmatch(text) is not None and ".." not in text


@dataclass(frozen=True, kw_only=True)
class Pasted:
    """What an address of a model hub's page names. revision: "" = the hub's own default."""

    model: str
    hub: str
    revision: str


def url_read(text: str) -> Pasted | None:
    """An address pasted from a model hub's page; None when it is no such address."""
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
    if not is_hub_id(model_id):
        return None
    return Pasted(model=model_id, hub=hub, revision=_revision(names[2:], parts.query))


def _revision(rest: list[str], query: str) -> str:
    """Of .../tree/<revision>/..., and of ModelScope's ?version=."""
    named = parse_qs(query).get("version") or parse_qs(query).get("revision") or [""]
    if len(rest) > 1 and rest[0] in _BEFORE_REVISION:
        named = [unquote(rest[1])]
    is_own = _REVISION.fullmatch(named[0]) and ".." not in named[0]
    return named[0] if is_own and named[0] not in _DEFAULTS else ""


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
