"""Build the images of LoRAForge itself from the Dockerfile. Called by the Makefile, standard library only.

    python3 tools/images.py [--base REFERENCE] [--version TAG]

The base is python:3.11-slim, or a Debian made here where it cannot be pulled (see tools/swift_image.py,
whose ways with a base and with pip's settings these are).
"""

import argparse
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools.swift_image import (
    BASE,
    PROXIES,
    ROOT,
    BuildFailure,
    base_find,
    docker,
    engine_check,
    pip_offered,
    step,
)

TARGETS = ("control", "nodeagent")
CONTEXT = (
    "Dockerfile", "manage.py", "images/packages.sh", "requirements/control.txt",
    "requirements/nodeagent.txt", "locale", "templates", "static", "nodeagent", "loraforge",
)  # fmt: skip


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    """Nothing that a run of the tests left behind; the same owner whoever builds."""
    parts = Path(entry.name).parts
    if "__pycache__" in parts or any(part.startswith(".dist-") for part in parts):
        return None
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def context_pack() -> bytes:
    """The build's context, in the old tar format that every engine takes."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name in CONTEXT:
            tar.add(ROOT / name, name, filter=_wanted)
    return packed.getvalue()


def build(target: str, version: str, base: str) -> None:
    tag = f"loraforge/{target}:{version}"
    with step(f"{tag} on {base} (a minute or two)"), pip_offered() as settings:
        arguments = {"BASE": base, "PIP_SETTINGS": settings}
        arguments |= {name: os.environ[name] for name in PROXIES if os.environ.get(name)}
        done = subprocess.run(
            [
                *("docker", "build", "--quiet", "--tag", tag, "--target", target),
                *("--force-rm", "--network=host"),
                *(f"--build-arg={name}={value}" for name, value in arguments.items()),
                "-",
            ],
            input=context_pack(),
            check=False,
        )
    if done.returncode != 0:
        raise BuildFailure(
            "The build failed; see above.\nRemedy: pip must reach a package index from within a "
            "container (its settings are taken over from `pip config list`)."
        )


def try_out(version: str) -> None:
    """Each starts as it is meant to run: without root's rights, with a read-only root."""
    hardened = ("run", "--rm", "--network=none", "--read-only", "--cap-drop=ALL", "--init")
    imports = ("python", "-c", "import kombu.transport.redis, nodeagent.__main__")
    trials = (
        (
            "control",
            "DJANGO_SETTINGS_MODULE=loraforge.settings.base",
            ("python", "manage.py", "check"),
        ),
        ("nodeagent", "LANG=C.UTF-8", imports),
    )
    for target, variable, command in trials:
        image = f"loraforge/{target}:{version}"
        with step(f"{image} starts"):
            said = docker(*hardened, "--tmpfs=/tmp", "--env", variable, image, *command)
        if said.returncode != 0:
            raise BuildFailure(f"{image} does not work:\n{said.stderr.strip()}")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--base", default=BASE)
    parser.add_argument("--version", default=os.environ.get("LORAFORGE_VERSION") or "latest")
    given = parser.parse_args(arguments)
    try:
        engine_check()
        base = base_find(given.base)
        for target in TARGETS:
            build(target, given.version, base)
        try_out(given.version)
    except BuildFailure as failure:
        print(f"\nNo image: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
