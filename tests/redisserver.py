"""A Redis server on TCP with accounts, as production has one. Free of Django on purpose."""

import secrets
import socket
import subprocess
import time
from pathlib import Path
from typing import Self
from urllib.parse import quote

import redis

ROLE = "~* &* +@all"


class RedisServer:
    """With AOF and an ACL file; it can be killed and started again in its folder."""

    def __init__(self, binary: Path, folder: Path, *, bind: str = "127.0.0.1") -> None:
        self._binary = binary
        self._folder = folder
        self._bind = bind
        self._password = secrets.token_hex(16)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "users.acl").write_text(
            f"user default off\nuser control on >{self._password} {ROLE}\n"
        )

    def url(self, user: str = "control", password: str = "") -> str:
        """Of the control plane's account, or another."""
        return f"redis://{user}:{quote(password or self._password)}@127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Returns when it answers, its AOF loaded."""
        self._process = subprocess.Popen(
            [
                *(str(self._binary), "--port", str(self.port), "--bind", self._bind),
                *("--dir", str(self._folder), "--aclfile", str(self._folder / "users.acl")),
                *("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
                *("--maxmemory-policy", "noeviction"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.STDOUT,
        )
        client = redis.Redis.from_url(self.url())
        deadline = time.monotonic() + 30
        while True:
            try:
                client.ping()
            except (redis.ConnectionError, redis.BusyLoadingError):
                assert self._process.poll() is None, "redis-server ended at once"
                assert time.monotonic() < deadline, "redis-server does not answer"
                time.sleep(0.02)
            else:
                client.close()
                return

    @property
    def pid(self) -> int:
        """Of the server as it runs now."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """As a crash."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.kill()
