"""A Docker engine for tests and small machines, where none is running. Called by .ci/run, standard library only.

    python3 tools/engine.py start    start dockerd unless an engine answers already; needs root
    python3 tools/engine.py stop     end what `start` started; containers live on (live-restore)

A machine with systemd has a better way: systemctl start docker.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("/run/loraforge-engine")  # gone with the machine's next start, as the engine is
START_PATIENCE_S = 60.0
STOP_PATIENCE_S = 30.0
LOG_LINES = 5


class EngineFailure(Exception):
    """No engine; the text says why and what can be done."""


def answers() -> bool:
    done = subprocess.run(["docker", "info"], capture_output=True, check=False)
    return done.returncode == 0


def start() -> None:
    if shutil.which("docker") is None or shutil.which("dockerd") is None:
        raise EngineFailure("There is no docker.\nRemedy: apt install docker.io")
    if answers():
        print("A Docker engine answers already.")
        return
    if os.geteuid() != 0:
        raise EngineFailure(
            "Only root can start an engine.\nRemedy: systemctl start docker, or sudo"
        )
    FOLDER.mkdir(exist_ok=True)
    log = FOLDER / "dockerd.log"
    with log.open("wb") as sink:
        engine = subprocess.Popen(
            ["dockerd", "--live-restore"],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
        )
    (FOLDER / "pid").write_text(str(engine.pid))
    deadline = time.monotonic() + START_PATIENCE_S
    while not answers():
        if engine.poll() is not None or time.monotonic() > deadline:
            said = "\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
            raise EngineFailure(f"dockerd does not come up; the end of {log}:\n{said}")
        time.sleep(0.2)
    print(f"A Docker engine is up (pid {engine.pid}, {log}).")


def started_pid() -> int | None:
    """The engine that `start` left here, if it still runs."""
    try:
        pid = int((FOLDER / "pid").read_text())
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ValueError):
        return None
    return pid if name == "dockerd" else None


def stop() -> None:
    pid = started_pid()
    if pid is None:
        print("No engine of ours runs.")
        return
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_PATIENCE_S
    while started_pid() is not None:
        if time.monotonic() > deadline:
            raise EngineFailure(f"dockerd (pid {pid}) does not end.")
        time.sleep(0.1)
    print("The engine has ended.")


def main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["start"]:
                start()
            case ["stop"]:
                stop()
            case _:
                raise EngineFailure(f"unknown: {' '.join(arguments)}\n{__doc__}")
    except EngineFailure as failure:
        print(f"No engine: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
