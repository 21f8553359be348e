"""A node's file service alone: ``python -m tests.benchmarks.filenode PORT KEY_HEX FOLDER``."""

import socket
import sys
import threading
from pathlib import Path

from nodeagent.files import FileService
from nodeagent.workspace import Workspace


def main(port: int, key: bytes, folder: Path) -> None:
    """Serve until killed."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(32)
    FileService(workspace=Workspace(folder), key=key, sock=listener).start()
    threading.Event().wait()


if __name__ == "__main__":
    main(int(sys.argv[1]), bytes.fromhex(sys.argv[2]), Path(sys.argv[3]))
