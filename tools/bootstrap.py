"""Make the environments that everything else runs in. Called by the Makefile, with the standard library only.

    python3 tools/bootstrap.py venv FOLDER            an empty virtual environment
    python3 tools/bootstrap.py install FOLDER LOCK    what a lock file names, hashes checked
    python3 tools/bootstrap.py swift FOLDER LOCK      torch, then SWIFT and what it needs
    python3 tools/bootstrap.py npm FOLDER             node_modules; Node.js too where there is none
    python3 tools/bootstrap.py node FOLDER ARGS...    run Node.js, the machine's or FOLDER's

Every failure ends with a line that says what a person can do about it.
"""

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = (3, 11)
# eslint's engines: ^20.19 || ^22.13 || >=24
OLDEST_NODE = (20, 19)
OLDEST_NPM = (9, 0)
SHOWN_WORDS = 6  # of a failed command
TORCH = "torch==2.13.0"
NETWORK_REMEDY = (
    "Remedy: pip must reach a package index (PyPI or the mirror of your pip.conf); "
    "see pip's message above, then run the command again. What is done stays done."
)


class SetupFailure(Exception):
    """A step failed; the text says which and what can be done."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done before it starts, and how long it took after."""
    print(f"==> {what}", flush=True)
    began = time.monotonic()
    yield
    print(f"    done in {time.monotonic() - began:.0f} s", flush=True)


def call(command: list[str], *, remedy: str, quiet: bool = False) -> None:
    """Run a command from the project's folder; SetupFailure with the remedy when it fails."""
    sink = subprocess.DEVNULL if quiet else None
    done = subprocess.run(command, cwd=ROOT, stdout=sink, stderr=sink, check=False)
    if done.returncode != 0:
        shown = " ".join(command[:SHOWN_WORDS]) + (" ..." if command[SHOWN_WORDS:] else "")
        raise SetupFailure(f"`{shown}` ended with exit code {done.returncode}.\n{remedy}")


def succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def python_of(folder: Path) -> Path:
    return folder / "bin" / "python"


def has_pip(folder: Path) -> bool:
    """Whether the environment is whole: its Python runs, is new enough and has pip."""
    probe = f"import sys, pip; sys.exit(sys.version_info < {OLDEST_PYTHON})"
    return succeeds([str(python_of(folder)), "-c", probe])


def make_by_venv(folder: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=False)


def make_by_own_pip(folder: Path) -> None:
    """For a Python whose venv lacks ensurepip (Debian without python3-venv) but that has pip itself."""
    plain = [sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)]
    into = [sys.executable, "-m", "pip", "--python", str(python_of(folder)), "install", "pip"]
    if subprocess.run(plain, check=False).returncode == 0:
        subprocess.run(into, check=False)


def make_by_virtualenv(folder: Path) -> None:
    virtualenv = shutil.which("virtualenv")
    if virtualenv:
        subprocess.run([virtualenv, "--python", sys.executable, str(folder)], check=False)


def make_venv(folder: Path) -> None:
    """Make the virtual environment unless a whole one is there."""
    if has_pip(folder):
        return
    ways: list[Callable[[Path], None]] = [make_by_venv, make_by_own_pip, make_by_virtualenv]
    with step(f"virtual environment {folder.name} (Python {sys.version.split()[0]})"):
        for way in ways:
            way(folder)
            if has_pip(folder):
                return
        raise SetupFailure(
            f"{sys.executable} cannot make a virtual environment with pip.\n"
            "Remedy: install its venv module (Debian, Ubuntu: apt install python3-venv), "
            "then run the command again."
        )


def pip_install(folder: Path, *arguments: str) -> None:
    # --no-compile: Python compiles at the first import, and most of what SWIFT brings is never imported
    pip = [str(python_of(folder)), "-m", "pip", "install", "--disable-pip-version-check"]
    call([*pip, "--no-compile", "--progress-bar=off", "--quiet", *arguments], remedy=NETWORK_REMEDY)


def install(folder: Path, lock: Path) -> None:
    """Install what the lock file names, each file checked against its hash."""
    make_venv(folder)
    with step(f"packages of {lock.relative_to(ROOT)} into {folder.name} (about a minute)"):
        pip_install(folder, "--require-hashes", "-r", str(lock))


def install_swift(folder: Path, lock: Path) -> None:
    """Install torch for this machine, then SWIFT by its lock, and see that both import."""
    make_venv(folder)
    index = os.environ.get("LORAFORGE_TORCH_INDEX", "")
    source = ["--index-url", index] if index else []
    with step(f"{TORCH} into {folder.name} (some minutes; LORAFORGE_TORCH_INDEX picks the build)"):
        pip_install(folder, *source, TORCH)
    with step(f"SWIFT and its packages into {folder.name} (some minutes)"):
        pip_install(folder, "--require-hashes", "--no-deps", "-r", str(lock))
    with step("SWIFT imports"):
        call(
            [str(python_of(folder)), "-c", "import torch, swift"],
            remedy=f"Remedy: remove the folder {folder.name} and run the command again.",
        )


def version_of(program: str) -> tuple[int, ...]:
    """Version that a program prints for --version; () when it does not run."""
    try:
        done = subprocess.run(
            [program, "--version"], capture_output=True, text=True, check=False, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return ()
    found = re.match(r"v?(\d+)\.(\d+)", done.stdout.strip())
    return (int(found[1]), int(found[2])) if done.returncode == 0 and found else ()


def node_folder(venv: Path) -> Path | None:
    """Folder with a node and an npm that are new enough: the machine's, else the environment's."""
    node = shutil.which("node")
    npm = shutil.which("npm")
    if node and npm and version_of(node) >= OLDEST_NODE and version_of(npm) >= OLDEST_NPM:
        return Path(node).parent
    own = venv / "bin"
    return own if version_of(str(own / "node")) >= OLDEST_NODE else None


def run_with_node(folder: Path, command: list[str]) -> None:
    """Run node or npm with its own folder first on PATH: npm starts whatever `node` it finds."""
    os.environ["PATH"] = f"{folder}{os.pathsep}{os.environ['PATH']}"
    call(command, remedy="Remedy: see the message above, then run the command again.")


def npm_install(venv: Path) -> None:
    """Install node_modules by package-lock.json; brings Node.js by a wheel where there is none."""
    folder = node_folder(venv)
    if folder is None:
        with step(f"Node.js into {venv.name} (none new enough on this machine)"):
            pip_install(venv, "--require-hashes", "-r", str(ROOT / "requirements/node.txt"))
        folder = venv / "bin"
    with step("packages of package-lock.json into node_modules"):
        npm = shutil.which("npm", path=folder) or shutil.which("npm") or "npm"
        quietly = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        run_with_node(folder, [npm, "ci", *quietly])


def run_node(venv: Path, arguments: list[str]) -> None:
    folder = node_folder(venv)
    if folder is None:
        raise SetupFailure("There is no Node.js yet.\nRemedy: run `make setup`.")
    node = folder / "node"
    os.execv(node, [str(node), *arguments])  # its exit code and its words are the answer


def perform(arguments: list[str]) -> None:
    match arguments:
        case ["venv", folder]:
            make_venv(ROOT / folder)
        case ["install", folder, lock]:
            install(ROOT / folder, ROOT / lock)
        case ["swift", folder, lock]:
            install_swift(ROOT / folder, ROOT / lock)
        case ["npm", folder]:
            npm_install(ROOT / folder)
        case ["node", folder, *rest]:
            run_node(ROOT / folder, rest)
        case _:
            raise SetupFailure(f"unknown: {' '.join(arguments)}\n{__doc__}")


def main(arguments: list[str]) -> int:
    if sys.version_info < OLDEST_PYTHON:
        print("LoRAForge needs Python 3.11 or newer.", file=sys.stderr)
        return 1
    try:
        perform(arguments)
    except SetupFailure as failure:
        print(f"\nSetup stopped: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
