"""The catalogue of a training image's SWIFT, and what it accepts that the newest one here does not.

    python3 -m tools.catalogue_upgrade IMAGE [--folder FOLDER]

The image's own Python writes it, in a container without network that may write nothing else. The files are
kept beside those of other releases: jobs go by the one that they were made with. New jobs go by
`loraforge.swift.catalogue.DEFAULT_VERSION`, to be changed with the tests that then ask for help texts.
Standard library only.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.catalogue_changes import changes, model_changes

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "loraforge" / "swift" / "catalogues"
MODELS = ".models.json"


class UpgradeFailure(Exception):
    """There is no catalogue of that image; the text says why."""


def extract(image: str, folder: Path) -> None:
    """Have the image write its catalogue into a folder. Raises UpgradeFailure."""
    limits = ["--network", "none", "--read-only", "--cap-drop", "ALL"]
    limits += ["--security-opt", "no-new-privileges", "--tmpfs", "/tmp", "--env", "HOME=/tmp"]  # noqa: S108 - the container's
    command = ["docker", "run", "--rm", *limits, "--user", f"{os.getuid()}:{os.getgid()}"]
    command += ["--volume", f"{ROOT / 'tools' / 'swift_catalogue.py'}:/lf/swift_catalogue.py:ro"]
    command += ["--volume", f"{folder}:/lf/catalogues", "--entrypoint", "python", image]
    command += ["/lf/swift_catalogue.py", "--folder", "/lf/catalogues"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise UpgradeFailure(f"{image} gives no catalogue:\n{done.stderr[-2000:]}")


def versions(folder: Path) -> list[str]:
    """SWIFT releases whose catalogue lies there, the oldest first."""
    names = [path.name.removesuffix(MODELS) for path in folder.glob(f"*{MODELS}")]
    return sorted(names, key=lambda name: [int(part) for part in name.split(".") if part.isdigit()])


def compare(folder: Path, kept: Path, version: str) -> list[str]:
    """What ``version`` in ``folder`` changes against the same release in ``kept``, else the newest there."""
    known = versions(kept)
    before = version if version in known else known[-1]
    pairs = [
        (_read(kept / f"{before}{suffix}"), _read(folder / f"{version}{suffix}"))
        for suffix in (".json", MODELS)
    ]
    lines = [*changes(*pairs[0]), *model_changes(*pairs[1])]
    return [f"SWIFT {version} beside {before}:", *(lines or ["no difference"])]


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image")
    parser.add_argument("--folder", type=Path, default=FOLDER)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        try:
            extract(options.image, folder)
        except UpgradeFailure as failure:
            sys.stderr.write(f"{failure}\n")
            return 1
        for version in versions(folder):
            sys.stdout.write("\n".join(compare(folder, options.folder, version)) + "\n")
        for path in folder.iterdir():
            shutil.copyfile(path, options.folder / path.name)
    return 0


if __name__ == "__main__":
    sys.exit(main())
