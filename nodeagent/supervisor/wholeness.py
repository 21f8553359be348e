"""Whether a file of a checkpoint ends in the middle: its trainer was killed while it saved, or still saves.

Nothing is unpickled and no tensor is read: the formats themselves say how long they are. What is said
here is about accidents; a job that wants to deceive deceives itself only.
"""

import json
import os
import re
from typing import Any

import msgspec

from nodeagent.contract.reading import UNREADABLE

_IN_CHECKPOINT = re.compile(r"(?:^|/)checkpoint-[0-9]{1,12}/")
HEADER_MAX_BYTES = (
    16 * 1024 * 1024
)  # of safetensors; a model of 400 billion weights needs a quarter MiB
JSON_MAX_BYTES = 64 * 1024 * 1024  # trainer_state.json holds the whole history

_ZIP_BEGIN = b"PK\x03\x04"
_ZIP_END = b"PK\x05\x06"  # of the last 22 bytes, since torch writes no comment
_ZIP_END_BYTES = 22
_PICKLE_BEGIN, _PICKLE_END = b"\x80", b"."
_LENGTH_BYTES = 8


class _Tensor(msgspec.Struct):
    data_offsets: tuple[int, int] = (0, 0)


_header_decoder = msgspec.json.Decoder(dict[str, _Tensor])
_object_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def is_cut(descriptor: int, path: str, size_bytes: int) -> bool:
    """True for a file of a checkpoint folder that is not whole; other files are never judged.

    descriptor: of the file, open for reading. Raises OSError.
    """
    if _IN_CHECKPOINT.search(path) is None:
        return False
    if path.endswith(".safetensors"):
        return not _is_whole_safetensors(descriptor, size_bytes)
    if path.endswith((".pt", ".pth", ".bin")):
        return not _is_whole_torch(descriptor, size_bytes)
    if path.endswith(".json"):
        return not _is_whole_json(descriptor, size_bytes)
    return False


def _is_whole_safetensors(descriptor: int, size_bytes: int) -> bool:
    """Its header names the end of the last tensor."""
    length = int.from_bytes(os.pread(descriptor, _LENGTH_BYTES, 0), "little")
    if not 0 < length <= min(HEADER_MAX_BYTES, size_bytes - _LENGTH_BYTES):
        return False
    try:
        tensors = _header_decoder.decode(os.pread(descriptor, length, _LENGTH_BYTES))
    except UNREADABLE:
        return False
    end = max((one.data_offsets[1] for one in tensors.values()), default=0)
    return size_bytes == _LENGTH_BYTES + length + end


def _is_whole_torch(descriptor: int, size_bytes: int) -> bool:
    """torch.save writes a zip, whose directory stands at its end; its older format is one pickle."""
    begin = os.pread(descriptor, len(_ZIP_BEGIN), 0)
    end = os.pread(descriptor, _ZIP_END_BYTES, max(0, size_bytes - _ZIP_END_BYTES))
    if begin == _ZIP_BEGIN:
        return end.startswith(_ZIP_END)
    return begin.startswith(_PICKLE_BEGIN) and end.endswith(_PICKLE_END)


def _is_whole_json(descriptor: int, size_bytes: int) -> bool:
    if size_bytes > JSON_MAX_BYTES:
        return True  # too long to look at; a kill in so short a moment is the rarer accident
    data = os.pread(descriptor, size_bytes, 0)
    try:
        _object_decoder.decode(data)
    except UNREADABLE:
        return _is_python_json(data)
    return True


def _is_python_json(data: bytes) -> bool:
    """Python's json writes bare NaN and Infinity, which strict JSON has not."""
    if b"NaN" not in data and b"Infinity" not in data:
        return False
    try:
        found: Any = json.loads(data)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict)
