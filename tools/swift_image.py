"""Build the CPU training image from images/swift/Dockerfile. Called by the Makefile, standard library only.

    python3 tools/swift_image.py [--tag REFERENCE] [--base REFERENCE] [--force]

Wants a Docker engine that answers (`docker info`); nothing else. The base is python:3.11-slim; where it
cannot be pulled, a Debian made by debootstrap takes its place (root, and apt install debootstrap).
pip's settings of this machine hold in the build too: its indexes, its CA and its folders of wheels are
offered to the build on 127.0.0.1 while it runs, and nothing of them stays in the image.
"""

import argparse
import configparser
import hashlib
import io
import os
import re
import secrets
import shutil
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

ROOT = Path(__file__).resolve().parent.parent
RECIPE = ("images/swift/Dockerfile", "images/swift/install.sh", "requirements/swift-cpu.txt")
TAG = "loraforge/swift:4.6.0"
BASE = "python:3.11-slim"
DEBIAN_BASE = "loraforge/base:bookworm"
DEBIAN_PACKAGES = "python3,python3-venv,ca-certificates"
IN_BUILD = "/tmp/pip-settings"  # noqa: S108 - where install.sh puts the settings, in the container
PARTS_OF_A_WHEEL = 3  # of its URL: secret, number of the folder, file name
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
        if packed.stdout is not None:  # else tar waits for ever for a reader that is gone
            packed.stdout.close()
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


def wheels_split(settings: dict[str, str], url: str) -> tuple[list[str], list[Path]]:
    """Values of find-links for the build, and the folders of this machine to offer below ``url``."""
    places: list[str] = []
    folders: list[Path] = []
    for place in settings.get("find-links", "").split():
        path = local_path(place)
        if path is None:
            places.append(place)
        elif path.is_dir():
            places.append(f"{url}{len(folders)}/")
            folders.append(path)
    return places, folders


def settings_pack(settings: dict[str, str], places: list[str]) -> bytes:
    """A tar file with pip.conf and the certificates that it names."""
    config = configparser.RawConfigParser()
    config["global"] = {key: settings[key] for key in PLAIN_SETTINGS if key in settings}
    # an index made of files is left out: its links may lead anywhere on this machine
    extra = [one for one in settings.get("extra-index-url", "").split() if not local_path(one)]
    for key, values in (("find-links", places), ("extra-index-url", extra)):
        if values:
            config["global"][key] = " ".join(values)
    certificates = [key for key in ("cert", "client-cert") if Path(settings.get(key, "")).is_file()]
    for key in certificates:
        config["global"][key] = f"{IN_BUILD}/{key}.pem"
    text, packed = io.StringIO(), io.BytesIO()
    config.write(text)
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as tar:
        entry = tarfile.TarInfo("pip.conf")
        entry.size = len(text.getvalue().encode())
        tar.addfile(entry, io.BytesIO(text.getvalue().encode()))
        for key in certificates:
            tar.add(settings[key], f"{key}.pem")
    return packed.getvalue()


@contextmanager
def pip_offered() -> Iterator[str]:
    """The URL below which the build finds this machine's pip settings, for as long as the block runs.

    On the loopback, and behind a name that nobody can guess: an index's password may be among them.
    """
    settings, secret = pip_settings(), secrets.token_urlsafe()
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/{secret}/"
        places, folders = wheels_split(settings, url)
        packed = settings_pack(settings, places)
        server.RequestHandlerClass = _handler(secret, packed, folders)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield url
        finally:
            server.shutdown()


def _handler(secret: str, packed: bytes, folders: list[Path]) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        """/SECRET/settings.tar, and /SECRET/<number>/ for each folder of wheels with its files."""

        def do_GET(self) -> None:
            if self.path != f"/{secret}/settings.tar":
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(packed)))
            self.end_headers()
            self.wfile.write(packed)

        def translate_path(self, path: str) -> str:
            parts = unquote(urlsplit(path).path).split("/")[1:]
            known = len(parts) == PARTS_OF_A_WHEEL and parts[0] == secret and parts[2] != ".."
            if not known or not parts[1].isdecimal() or int(parts[1]) >= len(folders):
                return "/nonexistent"
            return f"{folders[int(parts[1])]}/{parts[2]}"

        def log_message(self, *_arguments: object) -> None:
            """Quiet: pip says what it does."""

    return Handler


# -- the build


def context_pack() -> bytes:
    """The build's context. In the old tar format: the engine takes an extended header for a Dockerfile."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in RECIPE:
            tar.add(ROOT / name, name.removeprefix("images/swift/"))
    return packed.getvalue()


def swift_version() -> str:
    found = re.search(r"^ms-swift==(\S+)", (ROOT / RECIPE[2]).read_text(), re.MULTILINE)
    if found is None:
        raise BuildFailure(f"{RECIPE[2]} names no ms-swift.\nRemedy: make lock")
    return found[1]


def recipe(base: str, index: str) -> str:
    """What the image is made from, as one hash: the same again need not be built again."""
    inspected = docker("image", "inspect", "--format", "{{.Id}}", base).stdout
    parts = [*((ROOT / name).read_text() for name in RECIPE), inspected, index]
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
    with step(f"{tag} on {base} (some minutes)"), pip_offered() as settings:
        arguments = {"BASE": base, "TORCH_INDEX": index, "PIP_SETTINGS": settings}
        arguments |= {name: os.environ[name] for name in PROXIES if os.environ.get(name)}
        labels = {RECIPE_LABEL: made_from, SWIFT_LABEL: swift_version()}
        done = subprocess.run(
            [
                *("docker", "build", "--tag", tag, "--force-rm", "--network=host"),
                *(f"--build-arg={name}={value}" for name, value in arguments.items()),
                *(f"--label={name}={value}" for name, value in labels.items()),
                "-",
            ],
            input=context_pack(),
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
