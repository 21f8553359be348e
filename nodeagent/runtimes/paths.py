"""Real folders in place of the contract's fixed paths, for runtimes that have no mounts."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def _text(value: str, folders: Mapping[str, Path]) -> str:
    for prefix in sorted(folders, key=len, reverse=True):
        rest = value[len(prefix) :]
        # "#" begins the row count of SWIFT's dataset syntax (path#500)
        if value.startswith(prefix) and (not rest or rest[0] in "/#"):
            return f"{folders[prefix]}{rest}"
    return value


def _plain(value: Any, folders: Mapping[str, Path]) -> Any:
    if isinstance(value, str):
        return _text(value, folders)
    if isinstance(value, list):
        return [_plain(item, folders) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item, folders) for key, item in value.items()}
    return value


def real_paths(value: str, folders: Mapping[str, Path]) -> str:
    """``value`` with a leading contract path replaced, also within the items of a JSON list or object.

    folders: contract path -> real folder. A text that merely mentions such a path stays as it is.
    """
    if value[:1] in {"[", "{"}:
        try:
            plain = json.loads(value)
        except ValueError:
            return value
        replaced = _plain(plain, folders)
        return value if replaced == plain else json.dumps(replaced, ensure_ascii=False)
    return _text(value, folders)
