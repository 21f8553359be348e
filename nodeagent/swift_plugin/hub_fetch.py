"""Fetches one model or dataset of a model hub into a folder; runs in the training environment, with network.

    python hub_fetch.py --hub huggingface --kind model --repo org/name --into /lf/fetch [--revision r]
        [--subfolder s] [--token-file /lf/fetch-token]

Files go to <into>/<revision>/, and what came of it to <into>/run/state.json, replaced as a whole:
revision, done_bytes, total_bytes, result, message. A revision with a file <into>/<revision>.whole is
there already and is not fetched again. Results: whole, denied (no such repository, or not for this
token), no_revision, unreachable, disk_full, failed; empty while it goes on.

Hugging Face's revision is its commit. ModelScope tells none, so it is made of its files' hashes.
The hubs' addresses come from their own variables (HF_ENDPOINT, MODELSCOPE_ENDPOINT).
"""

import argparse
import errno
import fnmatch
import hashlib
import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import Any

# As SWIFT itself leaves out (swift/utils/hub_utils.py): other formats of the same weights.
IGNORED = [
    "*.zip",
    "*.gguf",
    "*.pth",
    "*.pt",
    "consolidated*",
    "onnx/*",
    "*.safetensors.md",
    "*.msgpack",
]
IGNORED += ["*.onnx", "*.ot", "*.h5"]
TELL_EVERY_S = 1.0
FORBIDDEN = (401, 403)
NOT_FOUND = 404


class Failed(Exception):
    """It cannot be had; result is one of the module's words."""

    def __init__(self, result: str, message: str) -> None:
        super().__init__(message)
        self.result = result


class State:
    """What the node agent reads."""

    def __init__(self, into: Path) -> None:
        self.into = into
        self.revision = ""
        self.total_bytes = 0
        self.before_bytes = 0

    def tell(self, result: str = "", message: str = "") -> None:
        folder = self.into / "run"
        state = {
            "revision": self.revision,
            "done_bytes": self.done_bytes(),
            "total_bytes": self.total_bytes,
            "result": result,
            "message": message[:500],
        }
        fresh = folder / ".state.json"
        fresh.write_text(json.dumps(state), encoding="utf-8")
        fresh.replace(folder / "state.json")

    def done_bytes(self) -> int:
        """On disk by now, half-fetched files too; files may go while this looks."""
        if not self.revision:
            return 0
        total = 0
        for root, _folders, files in os.walk(self.into / self.revision):
            for name in files:
                try:
                    known = Path(root, name).lstat()
                except FileNotFoundError:
                    continue
                total += min(
                    known.st_size, known.st_blocks * 512
                )  # a file made long beforehand is empty
        return min(total, self.total_bytes)


class HuggingFace:
    """By huggingface_hub."""

    def __init__(self, asked: argparse.Namespace, token: str) -> None:
        self.asked = asked
        self.token = token or False
        self.library = importlib.import_module("huggingface_hub")
        self.api = self.library.HfApi(token=self.token)

    def resolve(self) -> tuple[str, int]:
        """(revision, bytes to come)."""
        asked = self.asked
        found = self.api.repo_info(
            asked.repo, repo_type=asked.kind, revision=asked.revision or None, files_metadata=True
        )
        sizes = [one.size or 0 for one in found.siblings or [] if wanted(asked, one.rfilename)]
        return str(found.sha), sum(sizes)

    def fetch(self, revision: str, folder: Path) -> None:
        self.library.snapshot_download(
            self.asked.repo,
            repo_type=self.asked.kind,
            revision=revision,
            local_dir=folder,
            token=self.token,
            allow_patterns=allowed(self.asked),
            ignore_patterns=ignored(self.asked),
        )


class ModelScope:
    """By modelscope_hub, which modelscope itself uses."""

    def __init__(self, asked: argparse.Namespace, token: str) -> None:
        self.asked = asked
        library = importlib.import_module("modelscope_hub")
        self.api = library.HubApi(token=token)  # an empty one is none

    def resolve(self) -> tuple[str, int]:
        files = self.files()
        return self.mark(files), sum(int(one.size or 0) for one in files)

    def files(self) -> list[Any]:
        found = self.api.list_repo_files(
            self.asked.repo, self.asked.kind, revision=self.asked.revision or None
        )
        return [one for one in found if one.type != "tree" and wanted(self.asked, one.path)]

    def mark(self, files: list[Any]) -> str:
        """The same files, the same mark."""
        lines = sorted(f"{one.path}\0{one.sha256 or one.blob_id or one.size}" for one in files)
        return "files-" + hashlib.sha256("\n".join(lines).encode()).hexdigest()[:40]

    def fetch(self, revision: str, folder: Path) -> None:
        self.api.download_repo(
            self.asked.repo,
            repo_type=self.asked.kind,
            revision=self.asked.revision or None,
            local_dir=folder,
            allow_patterns=allowed(self.asked),
            ignore_patterns=ignored(self.asked),
        )
        if self.mark(self.files()) != revision:
            raise Failed("failed", "The repository was changed while it was fetched.")


def allowed(asked: argparse.Namespace) -> list[str] | None:
    return [f"{asked.subfolder}/*"] if asked.subfolder else None


def ignored(asked: argparse.Namespace) -> list[str] | None:
    return IGNORED if asked.kind == "model" else None


def wanted(asked: argparse.Namespace, path: str) -> bool:
    """By the same patterns as the libraries go by."""
    if asked.subfolder and not path.startswith(f"{asked.subfolder}/"):
        return False
    return not any(fnmatch.fnmatch(path, pattern) for pattern in ignored(asked) or [])


def judge(error: BaseException, asked: argparse.Namespace) -> Failed:
    """What an error of these libraries means; each has classes of its own, so by name and status."""
    if isinstance(error, Failed):
        return error
    chain = [error]
    while (cause := chain[-1].__cause__ or chain[-1].__context__) and cause not in chain:
        chain.append(cause)
    chain += list(getattr(error, "failed_files", {}).values())
    names = {kind.__name__ for one in chain for kind in type(one).__mro__}
    statuses = {status(one) for one in chain}
    message = f"{type(error).__name__}: {error}".splitlines()[0]
    if any(isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT) for one in chain):
        return Failed("disk_full", message)
    if "RevisionNotFoundError" in names:
        return Failed("no_revision", f"{asked.repo} has no revision {asked.revision}.")
    denied = {"RepositoryNotFoundError", "GatedRepoError", "NotExistError", "PermissionDeniedError"}
    if names & {*denied, "AuthenticationError"} or statuses & {*FORBIDDEN, NOT_FOUND}:
        return Failed("denied", message)
    if isinstance(error, ValueError | TypeError | KeyError):
        return Failed("failed", message)
    unreachable = {
        "ConnectionError",
        "Timeout",
        "TimeoutException",
        "NetworkError",
        "ServerError",
        "TransportError",
    }
    unreachable |= {
        "LocalEntryNotFoundError",
        "OfflineModeIsEnabled",
        "HfHubHTTPError",
        "RateLimitError",
    }
    return Failed("unreachable" if names & unreachable else "failed", message)


def status(error: BaseException) -> int:
    code = getattr(getattr(error, "response", None), "status_code", 0)
    return code if isinstance(code, int) else 0


def run(asked: argparse.Namespace, state: State) -> None:
    token = Path(asked.token_file).read_text(encoding="utf-8").strip() if asked.token_file else ""
    hub = {"huggingface": HuggingFace, "modelscope": ModelScope}[asked.hub](asked, token)
    state.revision, state.total_bytes = hub.resolve()
    if (asked.into / f"{state.revision}.whole").exists():
        return
    state.tell()
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(TELL_EVERY_S):
            state.tell()

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    folder = asked.into / state.revision
    folder.mkdir(exist_ok=True)
    try:
        hub.fetch(state.revision, folder)
    finally:
        ended.set()
        teller.join()
    # SWIFT renames this file of a ModelScope dataset, which it cannot where datasets are read-only
    infos = folder / "dataset_infos.json"
    if asked.kind == "dataset" and infos.is_file():
        infos.replace(folder / "dataset_infos.json_bak")


def main() -> int:
    parser = argparse.ArgumentParser(description="Fetch one model or dataset of a model hub.")
    parser.add_argument("--hub", choices=("huggingface", "modelscope"), required=True)
    parser.add_argument("--kind", choices=("model", "dataset"), required=True)
    parser.add_argument("--repo", required=True)
    parser.add_argument("--revision", default="")
    parser.add_argument("--subfolder", default="")
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--token-file", default="")
    asked = parser.parse_args()
    state = State(asked.into)
    try:
        run(asked, state)
    except Exception as error:
        failed = judge(error, asked)
        state.tell(failed.result, str(failed))
        return 1
    state.tell("whole")
    return 0


if __name__ == "__main__":
    sys.exit(main())
