"""What a page receives: one websocket, each frame with the moment at which it came."""

import threading
import time
from typing import Any, NamedTuple, Self

import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect


class Arrival(NamedTuple):
    """A frame and its `onmessage`, by the monotonic clock and by the wall clock."""

    at_ns: int
    wall_s: float
    text: bytes

    @property
    def frame(self) -> Any:
        """Decoded."""
        return msgspec.json.decode(self.text)


class Page:
    """Listens until closed; decoding is left for later, so that it delays nothing."""

    def __init__(self, url: str, *, token: str = "") -> None:
        headers = {"Authorization": token} if token else {}
        self._socket = connect(url, additional_headers=headers, compression=None, max_size=None)
        self.arrivals: list[Arrival] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        try:
            while True:
                text = self._socket.recv(decode=False)
                self.arrivals.append(Arrival(time.monotonic_ns(), time.time(), text))
        except ConnectionClosed:
            return

    def status(self, name: str) -> Arrival | None:
        """The first train_status frame with this state."""
        for arrival in list(self.arrivals):
            if b"train_status" in arrival.text and arrival.frame["data"]["status"] == name:
                return arrival
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._socket.close()
        self._thread.join(5)
