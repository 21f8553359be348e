"""Build the CPU training image from images/swift/Dockerfile. Called by the Makefile, standard library only.

    python3 tools/swift_image.py [--tag REFERENCE] [--base REFERENCE] [--force]

Wants a Docker engine that answers (`docker info`); nothing else. The base is python:3.11-slim; where it
cannot be pulled, a Debian made by debootstrap takes its place (root, and apt install debootstrap).
pip's settings of this machine hold in the build too: its indexes, its CA and its folders of wheels.
"""

import argparse
import configparser
import hashlib
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
DOCKERFILE = "images/swift/Dockerfile"
LOCK = "requirements/swift-cpu.txt"
TAG = "loraforge/swift:4.6.0"
BASE = "python:3.11-slim"
DEBIAN_BASE = "loraforge/base:bookworm"
DEBIAN_PACKAGES = "python3,python3-venv,ca-certificates"
IN_BUILD = "/build"  # where the Dockerfile copies pip/ to
RECIPE_LABEL = "lf.recipe"
SWIFT_LABEL = "lf.swift"  # what a node tells of its image
# what of pip's settings decides where packages come from and whom to trust
PLAIN_SETTINGS = ("index-url", "trusted-host", "timeout", "default-timeout", "proxy", "no-index")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


class BuildFailure(Exception):
    """A step failed; the text says which and what can be done."""


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done before it starts, and how long it took after."""
    print(f"==> {what}", flush=True)
    began = time.monotonic()
    yield
    print(f"    done in {time.monotonic() - began:.0f} s", flush=True)


def docker(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run the docker command and keep what it says."""
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)


def engine_check() -> None:
    if shutil.which("docker") is None:
        raise BuildFailure("There is no docker command.\nRemedy: apt install docker.io")
    answer = docker("info", "--format", "{{.ServerVersion}}")
    if answer.returncode != 0:
        said = answer.stderr.strip().splitlines()
        raise BuildFailure(
            f"No Docker engine answers: {said[-1] if said else 'docker info failed'}\n"
            "Remedy: start it (systemctl start docker, or python3 tools/engine.py start), "
            "and be root or a member of the group docker."
        )


def image_exists(reference: str) -> bool:
    return docker("image", "inspect", reference).returncode == 0


# -- the base


def base_find(wanted: str) -> str:
    """A base that is on this engine: the wanted one, pulled if need be, else one made here."""
    if image_exists(wanted):
        return wanted
    with step(f"pull {wanted}"):
        pulled = docker("pull", "--quiet", wanted)
    if pulled.returncode == 0:
        return wanted
    print(f"    {pulled.stderr.strip()}")
    if image_exists(DEBIAN_BASE):
        return DEBIAN_BASE
    if wanted != BASE or shutil.which("debootstrap") is None or os.geteuid() != 0:
        raise BuildFailure(
            f"{wanted} cannot be pulled.\nRemedy: name a base with Python 3.11 and venv that this "
            'engine has or can pull (make swift-image ARGS="--base NAME"), or be root and '
            "`apt install debootstrap`: then one is made here."
        )
    debian_make()
    return DEBIAN_BASE


def debian_make() -> None:
    """Make DEBIAN_BASE: a minimal Debian 12 with its Python 3.11."""
    with (
        step(f"{DEBIAN_BASE} by debootstrap (about a minute)"),
        tempfile.TemporaryDirectory() as into,
    ):
        made = subprocess.run(
            ["debootstrap", "--variant=minbase", f"--include={DEBIAN_PACKAGES}", "bookworm", into],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise BuildFailure("debootstrap failed:\n" + "\n".join(made.stdout.splitlines()[-5:]))
        packed = subprocess.Popen(
            ["tar", "-C", into, "--exclude=./var/cache/apt/archives/*.deb", "-c", "."],
            stdout=subprocess.PIPE,
        )
        loaded = subprocess.run(
            ["docker", "import", "-", DEBIAN_BASE],
            stdin=packed.stdout,
            capture_output=True,
            text=True,
            check=False,
        )
        if packed.wait() != 0 or loaded.returncode != 0:
            raise BuildFailure(f"docker import failed: {loaded.stderr.strip()}")


# -- pip's settings of this machine


def pip_settings() -> dict[str, str]:
    """pip's settings as `pip config list` tells them, by name; the environment wins over files."""
    told = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    settings: dict[str, str] = {}
    from_environment: dict[str, str] = {}
    for line in told.stdout.splitlines():
        name, equals, value = line.partition("=")
        if not equals:
            continue
        where, _dot, key = name.rpartition(".")
        target = from_environment if where == ":env:" else settings
        target[key] = value.strip().strip("'\"").replace("\\n", " ")
    return {**settings, **from_environment}


def local_path(place: str) -> Path | None:
    """The folder or file that a path or a file: URL names, None for anything on the network."""
    parts = urlsplit(place)
    if parts.scheme not in {"", "file"}:
        return None
    return Path(unquote(parts.path))


def pip_carry(settings: dict[str, str]) -> tuple[str, dict[str, Path]]:
    """pip.conf for the build, and what it names of this machine: name below IN_BUILD -> real path."""
    carried: dict[str, Path] = {}
    config = configparser.RawConfigParser()
    config["global"] = {key: settings[key] for key in PLAIN_SETTINGS if key in settings}
    for key in ("cert", "client-cert"):
        if key in settings and Path(settings[key]).is_file():
            carried[f"{key}.pem"] = Path(settings[key])
            config["global"][key] = f"{IN_BUILD}/{key}.pem"
    wheels = []
    for number, place in enumerate(settings.get("find-links", "").split()):
        path = local_path(place)
        if path is None:
            wheels.append(place)
        elif path.is_dir():
            carried[f"wheels-{number}"] = path
            wheels.append(f"{IN_BUILD}/wheels-{number}")
    if wheels:
        config["global"]["find-links"] = " ".join(wheels)
    # an index of files is too large to carry, and its links may lead anywhere
    extra = [url for url in settings.get("extra-index-url", "").split() if not local_path(url)]
    if extra:
        config["global"]["extra-index-url"] = " ".join(extra)
    text = io.StringIO()
    config.write(text)
    return text.getvalue(), carried


# -- the build


def context_write(into: Path) -> None:
    """The build's context as a tar file: the Dockerfile, the lock, pip's settings.

    In the old format: the engine takes a tar file with an extended header for a Dockerfile.
    """
    config, carried = pip_carry(pip_settings())
    with tarfile.open(into, "w", format=tarfile.GNU_FORMAT, dereference=True) as tar:
        tar.add(ROOT / DOCKERFILE, "Dockerfile")
        tar.add(ROOT / LOCK, LOCK)
        entry = tarfile.TarInfo("pip/pip.conf")
        entry.size = len(config.encode())
        tar.addfile(entry, io.BytesIO(config.encode()))
        for name, path in carried.items():
            tar.add(path, f"pip/{name}")


def swift_version() -> str:
    found = re.search(r"^ms-swift==(\S+)", (ROOT / LOCK).read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailure(f"{LOCK} names no ms-swift.\nRemedy: make lock")
    return found[1]


def recipe(base: str, index: str) -> str:
    """What the image is made from, as one hash: the same again need not be built again."""
    inspected = docker("image", "inspect", "--format", "{{.Id}}", base).stdout
    parts = [(ROOT / DOCKERFILE).read_text(), (ROOT / LOCK).read_text(), inspected, index]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def build(tag: str, base: str, *, force: bool) -> None:
    index = os.environ.get("LORAFORGE_TORCH_INDEX", "")
    made_from = recipe(base, index)
    wanted = f'{{{{index .Config.Labels "{RECIPE_LABEL}"}}}}'
    if (
        not force
        and docker("image", "inspect", "--format", wanted, tag).stdout.strip() == made_from
    ):
        print(f"{tag} is up to date.")
        return
    arguments = ["--build-arg", f"BASE={base}", "--build-arg", f"TORCH_INDEX={index}"]
    for name in PROXIES:
        if os.environ.get(name):
            arguments += ["--build-arg", name]
    with step(f"{tag} on {base} (some minutes)"), tempfile.TemporaryDirectory() as folder:
        context = Path(folder) / "context.tar"
        context_write(context)
        with context.open("rb") as stdin:
            done = subprocess.run(
                [
                    *("docker", "build", "--tag", tag, "--force-rm"),
                    *("--label", f"{RECIPE_LABEL}={made_from}"),
                    *("--label", f"{SWIFT_LABEL}={swift_version()}", *arguments, "-"),
                ],
                stdin=stdin,
                check=False,
            )
        if done.returncode != 0:
            raise BuildFailure(
                "The build failed; see above.\nRemedy: pip must reach a package index from within a "
                "container (its settings are taken over from `pip config list`), and 10 GB must be free."
            )


def try_out(tag: str) -> None:
    """It runs as a job does: another user, no network, nothing writable but /tmp and HOME."""
    with step("the image imports SWIFT, hardened as for a job"):
        said = docker(
            *("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--init"),
            *("--user=10001:10001", "--security-opt=no-new-privileges"),
            *("--tmpfs=/tmp", "--tmpfs=/lf/home:uid=10001", tag, "python", "-c"),
            "import torch, swift; print('    SWIFT', swift.__version__, 'torch', torch.__version__)",
        )
        print(said.stdout, end="")
        if said.returncode != 0:
            raise BuildFailure(f"The image does not work:\n{said.stderr.strip()}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--tag", default=os.environ.get("LORAFORGE_SWIFT_IMAGE") or TAG)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--force", action="store_true", help="build although nothing changed")
    given = parser.parse_args(arguments)
    try:
        engine_check()
        build(given.tag, base_find(given.base), force=given.force)
        try_out(given.tag)
    except BuildFailure as failure:
        print(f"\nNo image: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
