"""The demo: a real fine-tune of a tiny model through the public API, followed in the terminal."""

import hashlib
import json
import os
import secrets
import struct
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from loraforge.accounts.models import Role, User
from loraforge.accounts.services import user_create
from loraforge.core.errors import Unavailable
from loraforge.embedded.client import ApiClient
from loraforge.embedded.stack import Stack
from loraforge.settings.env import BASE_DIR, env

Say = Callable[[str], None]

ACCOUNTS = {"researcher": Role.RESEARCHER, "operator": Role.OPERATOR, "admin": Role.ADMIN}
ENDED = {"succeeded", "failed", "stopped", "lost"}
POLL_S = 0.3
TIMEOUT_S = 600
BAR_WIDTH = 30


@dataclass(frozen=True)
class Adapter:
    """The downloaded result: where it is, and how many tensors it holds."""

    path: Path
    tensors: int


def material_ensure(stack: Stack) -> Path:
    """The tiny model and sample data in `<data>/demo`, made with the training environment on first use."""
    folder = stack.data / "demo"
    python = env.str(
        "LORAFORGE_SWIFT_PYTHON", default=str(BASE_DIR / ".venv-swift" / "bin" / "python")
    )
    command = [python, str(BASE_DIR / "tools" / "demo_material.py"), str(folder)]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    if made.returncode:
        raise Unavailable(
            "embedded:no_demo_material",
            f"The demo's model could not be made: {made.stderr[-2000:]}",
        )
    return folder


def accounts_ensure(stack: Stack) -> dict[str, str]:
    """The demo's users; their passwords are made once and kept in `<data>/demo/accounts.json` (mode 0600)."""
    path = stack.data / "demo" / "accounts.json"
    path.parent.mkdir(exist_ok=True)
    passwords: dict[str, str] = (
        json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    )
    for name, role in ACCOUNTS.items():
        if name in passwords and User.objects.filter(username=name).exists():
            continue
        passwords[name] = f"{secrets.token_urlsafe(12)}"
        existing = User.objects.filter(username=name).first()
        if existing is None:
            user_create(actor=None, username=name, password=passwords[name], role=role)
        else:
            existing.set_password(passwords[name])
            existing.save(update_fields=["password"])
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(passwords, file)
    return passwords


def dataset_ensure(api: ApiClient, path: Path) -> int:
    """The sample data as a dataset of the user, uploaded unless it is there already; gives its id."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    for dataset in api.pages("datasets/"):
        if dataset["sha256"] == digest and dataset["state"] == "ready":
            return int(dataset["id"])
    location = api.upload(path)
    upload_id = location.rstrip("/").rsplit("/", 1)[-1]
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        for dataset in api.pages("datasets/"):
            if dataset["sha256"] == digest and dataset["state"] != "checking":
                return int(dataset["id"])
        time.sleep(POLL_S)
    raise Unavailable(
        "embedded:upload_unfinished", f"The upload {upload_id} did not become a dataset."
    )


def job_body(*, model: Path, dataset: int) -> dict[str, Any]:
    """A LoRA fine-tune of a few seconds on a CPU."""
    return {
        "name": "Demo: learn to add",
        "command": "sft",
        "model": str(model),
        "datasets": [dataset],
        "gpus": 1,
        "arguments": {
            "tuner_type": "lora",
            "torch_dtype": "float32",
            "num_train_epochs": 1,
            "per_device_train_batch_size": 8,
            "gradient_accumulation_steps": 1,
            "learning_rate": 1e-3,
            "lora_rank": 8,
            "max_length": 128,
            "logging_steps": 1,
            "save_steps": 25,
            "split_dataset_ratio": 0.05,
            "eval_steps": 25,
            "dataloader_num_workers": 0,
        },
        "start": True,
    }


def _bar(job: dict[str, Any]) -> str:
    filled = job["progress"] * BAR_WIDTH // 100
    loss = "" if job["loss"] is None else f"  loss {job['loss']:.3f}"
    steps = f"  step {job['step']}/{job['max_steps']}" if job["max_steps"] else ""
    return f"[{'#' * filled}{'.' * (BAR_WIDTH - filled)}] {job['progress']:3d} %  {job['state']}{steps}{loss}"


def job_follow(api: ApiClient, job_id: int, *, show: Say) -> dict[str, Any]:
    """Show the job's progress until it has ended; gives its last state."""
    deadline = time.monotonic() + TIMEOUT_S
    while time.monotonic() < deadline:
        job: dict[str, Any] = api.get(f"jobs/{job_id}/")
        show(_bar(job))
        if job["state"] in ENDED:
            return job
        time.sleep(POLL_S)
    raise Unavailable("embedded:demo_too_slow", f"Job #{job_id} did not end within {TIMEOUT_S} s.")


def adapter_download(api: ApiClient, job_id: int, *, folder: Path) -> Adapter:
    """Fetch the LoRA weights in two ranges, check size and SHA-256 against the manifest, and count the tensors."""
    file = next(
        found
        for found in api.pages(f"jobs/{job_id}/artifacts/")
        if found["path"].endswith("adapter_model.safetensors")
    )
    half = file["size_bytes"] // 2
    address = f"jobs/{job_id}/artifacts/{file['path']}"
    data = api.download(address, end=half - 1) + api.download(address, start=half)
    if hashlib.sha256(data).hexdigest() != file["sha256"]:
        raise Unavailable(
            "embedded:adapter_differs",
            f"The downloaded {file['path']} differs from the node's file.",
        )
    folder.mkdir(exist_ok=True)
    path = folder / f"job-{job_id}-adapter_model.safetensors"
    path.write_bytes(data)
    # A safetensors file begins with the length of its JSON header, 8 bytes little endian (its format description).
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    return Adapter(path=path, tensors=len([name for name in header if name != "__metadata__"]))


def runtime_choose(stack: Stack) -> None:
    """The demo runs plain processes unless told otherwise, and remembers that for this data folder."""
    if not env.str("LORAFORGE_RUNTIME", default=""):
        (stack.data / "runtime").write_text("process", encoding="ascii")


def base_url() -> str:
    """The address that the demo talks to."""
    return f"http://127.0.0.1:{settings.PORT}"
