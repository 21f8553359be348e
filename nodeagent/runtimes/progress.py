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
            current, total = int(detail.get("current", 0)), int(detail["total"])
            # an engine that goes on with a layer after a break tells of the rest only
            whole = max(total, self._layers.get(layer, (0, 0))[1])
            self._layers[layer] = (whole - total + current, whole)
        elif status in {"Download complete", "Pull complete"} and layer in self._layers:
            total = self._layers[layer][1]
            self._layers[layer] = (total, total)

    @property
    def done_bytes(self) -> int:
        """Of all layers met so far."""
        return sum(current for current, _total in self._layers.values())

    @property
    def total_bytes(self) -> int:
        """Of all layers met so far, so it grows; 0 before the first."""
        return sum(total for _current, total in self._layers.values())

    @property
    def text(self) -> str:
        """Like ``image loraforge/swift:4.6.0: 512 of 2048 MB``."""
        done, total = self.done_bytes, self.total_bytes
        if not total:
            return f"image {self._image}: asked for"
        return f"image {self._image}: {done // 10**6} of {total // 10**6} MB"
