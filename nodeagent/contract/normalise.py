"""Console bytes -> lines for people; the one definition that the log API, the page and the tests share.

A line ends at ``\\n``. Within a line only what follows the last ``\\r`` counts (a progress bar redraws
itself), unless nothing follows it (``\\r\\n``). Bytes that are no UTF-8 become U+FFFD, NUL becomes U+2400.
A line longer than MAX_LINE_BYTES is broken there, so that memory stays bounded.
"""

MAX_LINE_BYTES = 65_536


def _text(raw: bytes) -> str:
    body = raw.rstrip(b"\r")
    bar = body[body.rfind(b"\r") + 1 :]
    return bar.decode("utf-8", "replace").replace("\x00", "\u2400")


class Normaliser:
    """Feed bytes in any pieces; the lines are the same whatever the pieces.

    ``position`` is the byte offset just behind the last complete line: starting a new Normaliser there
    with the bytes from there on gives the following lines. ``partial`` is the unfinished line as it
    would be shown now.
    """

    def __init__(self, *, position: int = 0) -> None:
        self.position = position
        self._open = bytearray()

    def feed(self, data: bytes) -> list[str]:
        """The lines that these bytes complete."""
        self._open += data
        lines: list[str] = []
        begin = 0
        while True:
            newline = self._open.find(b"\n", begin, begin + MAX_LINE_BYTES)
            if newline >= 0:
                lines.append(_text(bytes(self._open[begin:newline])))
                begin = newline + 1
            elif len(self._open) - begin >= MAX_LINE_BYTES:
                lines.append(_text(bytes(self._open[begin : begin + MAX_LINE_BYTES])))
                begin += MAX_LINE_BYTES
            else:
                break
        del self._open[:begin]
        self.position += begin
        return lines

    @property
    def partial(self) -> str:
        """The unfinished line, empty when there is none."""
        return _text(bytes(self._open))

    @property
    def end(self) -> int:
        """The byte offset behind all that was fed."""
        return self.position + len(self._open)


def normalise(data: bytes) -> list[str]:
    """All lines of a whole console.log; an unfinished last line counts as a line."""
    normaliser = Normaliser()
    lines = normaliser.feed(data)
    if normaliser.end > normaliser.position:
        lines.append(normaliser.partial)
    return lines
