"""A short name for a job's temporary folder.

The workers of a trainer talk through unix sockets below TMPDIR (Python's multiprocessing: SWIFT maps a
dataset that way), and a socket's path has at most 107 bytes (unix(7)). A data folder that lies deep
leaves no room for it: seen with ms-swift 4.6.0, which then ends with an EOFError while it maps the dataset.
"""

import hashlib
import os
import tempfile
from pathlib import Path

SOCKET_PATH_MAX = 107
NEEDED = (
    len("/pymp-12345678/listener-12345678") + 8
)  # what multiprocessing puts behind, and some room


def scratch_open(folder: Path) -> Path:
    """The folder itself, or a link to it in the machine's temporary folder when its path is too long.

    The files stay where they belong; the same folder always gets the same link. Raises OSError.
    """
    if len(os.fsencode(folder)) + NEEDED <= SOCKET_PATH_MAX:
        return folder
    link = _link(folder)
    try:
        link.symlink_to(folder)
    except FileExistsError:
        if not link.is_symlink() or link.readlink() != folder:
            raise
    return link


def scratch_close(folder: Path) -> None:
    """Take the link away, if there is one."""
    _link(folder).unlink(missing_ok=True)


def _link(folder: Path) -> Path:
    digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]
    return Path(tempfile.gettempdir()) / f"lf-{digest}"
