"""A PostgreSQL of one's own, for a test or a measurement: made in a temporary folder, gone afterwards.

    python3 tools/postgres.py COMMAND...    runs the command with DATABASE_URL set

Wants PostgreSQL's programs (apt install postgresql); no service, no account, no password. PostgreSQL
refuses to run as root: then the account `postgres` of the package runs it.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Self

OWNER = "postgres"
DATABASE = "loraforge"
# Debian keeps the programs out of PATH, one folder for each version.
FOLDERS = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "fsync": "off",  # what survives a power cut is not asked here; a killed server loses nothing
    "unix_socket_directories": "",
}


class PostgresMissing(Exception):
    """No PostgreSQL can be started; the text says what a person can do about it."""


def programs() -> Path:
    """Folder of initdb and pg_ctl. Raises PostgresMissing."""
    on_path = shutil.which("pg_ctl")
    for folder in [Path(on_path).resolve().parent] if on_path else FOLDERS:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    raise PostgresMissing("There is no PostgreSQL.\nRemedy: apt install postgresql")


class Postgres:
    """A server in the folder; ``with`` it runs. It can be stopped, killed and started in between."""

    def __init__(self, folder: Path, *, durable: bool = False) -> None:
        """durable: commits are written to the disk as in real use; for measurements."""
        self._folder = folder
        self._data = folder / "data"
        self._programs = programs()
        self._settings = {
            **SETTINGS,
            "port": str(_free_port()),
            "fsync": "on" if durable else "off",
        }
        self._owner = pwd.getpwnam(OWNER) if os.geteuid() == 0 else None

    @property
    def url(self) -> str:
        """For DATABASE_URL."""
        return f"postgres://{OWNER}@127.0.0.1:{self._settings['port']}/{DATABASE}"

    @property
    def pid(self) -> int:
        """Of the server's first process; the others are its children."""
        return int((self._data / "postmaster.pid").read_text().split()[0])

    def __enter__(self) -> Self:
        if self._owner is not None:
            os.chown(self._folder, self._owner.pw_uid, self._owner.pw_gid)
            self._folder.chmod(0o700)
        self._call("initdb", "--pgdata", str(self._data), "--auth=trust", f"--username={OWNER}",
                   "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")  # fmt: skip
        self.start()
        self._call("createdb", "--host=127.0.0.1", f"--port={self._settings['port']}",
                   f"--username={OWNER}", DATABASE)  # fmt: skip
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop(how="immediate")

    def start(self) -> None:
        """Returns when it answers."""
        options = " ".join(f"-c {name}='{value}'" for name, value in self._settings.items())
        log = str(self._folder / "server.log")
        self._call("pg_ctl", "start", "--wait", "--pgdata", str(self._data), "--log", log,
                   "--options", options)  # fmt: skip

    def stop(self, *, how: str = "fast") -> None:
        """``fast`` ends all connections in order, ``immediate`` as a crash would."""
        self._call("pg_ctl", "stop", "--wait", "--pgdata", str(self._data), "--mode", how)

    def _call(self, program: str, *arguments: str) -> None:
        owner = self._owner
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            cwd=self._folder,
            user=owner.pw_uid if owner else None,
            group=owner.pw_gid if owner else None,
            extra_groups=[] if owner else None,
            stdin=subprocess.DEVNULL,
            # not a pipe: the server inherits it and would keep it open
            stdout=(self._folder / "said").open("wb"),
            stderr=subprocess.STDOUT,
            check=False,
        )
        if done.returncode != 0:
            said = (self._folder / "said").read_text(errors="replace")
            raise PostgresMissing(f"{program} failed: {said[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(command: list[str]) -> int:
    if not command:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lf-postgres-") as folder,
            Postgres(Path(folder), durable=True) as server,
        ):
            environment = {**os.environ, "DATABASE_URL": server.url}
            return subprocess.run(command, env=environment, check=False).returncode
    except PostgresMissing as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
