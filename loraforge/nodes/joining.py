"""Whether what a node says of itself can be kept: a wrong word is told to its operator, by its name. Pure."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from django.utils.translation import gettext as _

from loraforge.core.errors import Invalid
from nodeagent.contract.joining import JoinRequest

FILE_URL_LENGTH = 200
UUID_LENGTH = 80
DEVICES_MAX = 1024
ROOTS_MAX = 100
ROOT_LENGTH = 4096  # Linux has no longer path
BYTES_MAX = 2**63 - 1
CPUS_MAX = 2**31 - 1
INDEX_MAX = 2**15 - 1


def description_check(request: JoinRequest) -> None:
    """Raises Invalid (`nodes:bad_join`) with the first thing that is wrong."""
    for found in (*_address_faults(request), *_number_faults(request), *_device_faults(request)):
        raise Invalid("nodes:bad_join", found)


def _address_faults(request: JoinRequest) -> Iterator[str]:
    if len(request.file_url) > FILE_URL_LENGTH:
        text = _(
            "The address of the node's file service (--advertise) has more than %(n)d characters."
        )
        yield text % {"n": FILE_URL_LENGTH}
    elif not _is_address(request.file_url):
        yield _(
            "The address of the node's file service (--advertise) is not like http://host:port."
        )
    roots = request.model_roots
    if len(roots) > ROOTS_MAX or not all(_is_folder(root) for root in roots):
        text = _("Model folders (--model-root) are at most %(n)d plain paths.")
        yield text % {"n": ROOTS_MAX}


def is_file_url(text: str) -> bool:
    """It can be the address of a node's file service."""
    return len(text) <= FILE_URL_LENGTH and _is_address(text)


def _is_address(text: str) -> bool:
    """True for http or https, a host, and nothing that no header or column takes."""
    try:
        parts = urlsplit(text)
        is_whole = parts.scheme in {"http", "https"} and bool(parts.hostname)
        return is_whole and (parts.port or 1) > 0 and text.isprintable() and " " not in text
    except ValueError:
        return False  # brackets that do not close, or no port number


def _is_folder(text: str) -> bool:
    return len(text) <= ROOT_LENGTH and "\0" not in text


def _number_faults(request: JoinRequest) -> Iterator[str]:
    given = {
        "cpu_count": (request.cpu_count, CPUS_MAX),
        "cpu_slots": (request.cpu_slots, DEVICES_MAX),
        "memory_bytes": (request.memory_bytes, BYTES_MAX),
        "disk_total_bytes": (request.disk_total_bytes, BYTES_MAX),
        "disk_free_bytes": (request.disk_free_bytes, BYTES_MAX),
    }
    for gpu in request.gpus[:DEVICES_MAX]:
        given[f"gpus[{gpu.uuid[:UUID_LENGTH]}].index"] = (gpu.index, INDEX_MAX)
        given[f"gpus[{gpu.uuid[:UUID_LENGTH]}].memory_bytes"] = (gpu.memory_bytes, BYTES_MAX)
    for name, (value, limit) in given.items():
        if not 0 <= value <= limit:
            text = _("The node agent's description of its node: %(name)s must be 0 to %(limit)s.")
            yield text % {"name": name, "limit": limit}


def _device_faults(request: JoinRequest) -> Iterator[str]:
    uuids = [gpu.uuid for gpu in request.gpus]
    if len(uuids) > DEVICES_MAX or len(set(uuids)) < len(uuids):
        text = _("A node has at most %(n)d GPUs, each with a UUID of its own.")
        yield text % {"n": DEVICES_MAX}
    if not all(0 < len(uuid) <= UUID_LENGTH and uuid.isprintable() for uuid in uuids):
        text = _("The UUID of a GPU is 1 to %(n)d plain characters.")
        yield text % {"n": UUID_LENGTH}
