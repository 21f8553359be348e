"""How far the pull of an image has come, from the engine's own lines."""

from collections.abc import Mapping
from typing import Any


class PullProgress:
    """Takes the lines of POST /images/create and gives one line for people."""

    def __init__(self, image: str) -> None:
        self._image = image
        self._layers: dict[str, tuple[int, int]] = {}

    def take(self, line: Mapping[str, Any]) -> None:
        """Only downloading counts; unpacking follows it and has no size of its own."""
        detail = line.get("progressDetail") or {}
        layer, status = str(line.get("id", "")), str(line.get("status", ""))
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = (int(detail.get("current", 0)), int(detail["total"]))
        elif status in {"Download complete", "Pull complete"} and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)

    @property
    def text(self) -> str:
        """Like ``image loraforge/swift:4.6.0: 512 of 2048 MB``; total grows as layers are met."""
        done = sum(current for current, _total in self._layers.values())
        total = sum(total for _current, total in self._layers.values())
        if not total:
            return f"image {self._image}: asked for"
        return f"image {self._image}: {done // 10**6} of {total // 10**6} MB"
