"""Run the real SWIFT on compiled arguments, with the fixed paths replaced as the process runtime does."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from loraforge.swift.catalogue import Value
from loraforge.swift.compiler import PlatformArguments, compile_argv, compile_env
from loraforge.training.launch import Resume

REPO = Path(__file__).resolve().parent.parent.parent
PYTHON = os.environ.get("LORAFORGE_SWIFT_PYTHON", str(REPO / ".venv-swift" / "bin" / "python"))
QUICK: dict[str, Value] = {
    "torch_dtype": "float32",
    "per_device_train_batch_size": 2,
    "gradient_accumulation_steps": 1,
    "logging_steps": 1,
    "max_length": 128,
    "dataloader_num_workers": 0,
}


class Training:
    """One process of the trainer, its folder and what it has written so far."""

    def __init__(
        self,
        folder: Path,
        material: Path,
        *,
        resume: Resume | None = None,
        left: Path | None = None,
        environment: dict[str, str] | None = None,
        **arguments: Value,
    ) -> None:
        """resume: the checkpoint to go on from; left: where its files were placed.

        environment: beside what every training has.
        """
        self.job = folder / "job"
        (self.job / "control").mkdir(parents=True)
        placed = {resume.folder: left} if resume is not None and left is not None else {}
        places = {
            **placed,
            "/lf/job": self.job,
            "/lf/inputs": material,
            "/lf/model": material / "model",
            "/lf/plugin": REPO / "nodeagent" / "swift_plugin",
        }
        processes = arguments.pop("processes", 1)
        save_every_s = arguments.pop("save_every_s", 0)
        assert isinstance(processes, int)
        assert isinstance(save_every_s, int | float)
        platform = PlatformArguments(
            model_type="qwen2",
            template="qwen2_5",
            datasets=("data.jsonl",),
            is_cpu=True,
            processes=processes,
        )
        values = {**QUICK, **arguments}
        argv = compile_argv("sft", values, platform=platform)
        argv += resume.flags if resume is not None else []
        if processes > 1:
            launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node"]
            argv = [*launcher, str(processes), *argv]
        env = compile_env(values, platform=platform, save_every_s=save_every_s)
        self.console = (self.job / "console.log").open("wb")
        self.process = subprocess.Popen(
            [PYTHON, *(_placed(item, places) for item in argv)],
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(folder),
                "MODELSCOPE_CACHE": str(folder / "cache"),
                "OMP_NUM_THREADS": "1",
                **{key: _placed(value, places) for key, value in env.items()},
                **(environment or {}),
            },
            stdout=self.console,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        """The plugin's events so far, all or of some kinds. Strict: NaN in a line fails."""
        path = self.job / "events.jsonl"
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        rows = [json.loads(line, parse_constant=_refuse) for line in lines]
        return [row for row in rows if not kinds or row["event"] in kinds]

    def wait_for(self, kind: str, *, number: int = 1) -> dict[str, Any]:
        """The number-th event of a kind; fails with the console when the process ends before."""
        while True:
            is_over = self.process.poll() is not None
            found = self.events(kind)
            if len(found) >= number:
                return found[number - 1]
            assert not is_over, self.console_tail()
            try:
                self.process.wait(timeout=0.05)
            except subprocess.TimeoutExpired:
                continue

    def wait(self) -> int:
        code = self.process.wait(timeout=100)
        self.console.close()
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        self.console.close()

    def console_tail(self) -> str:
        return (self.job / "console.log").read_text(errors="replace")[-3000:]

    def checkpoints(self) -> list[str]:
        return sorted(path.name for path in (self.job / "output").glob("checkpoint-*"))


def _placed(text: str, places: dict[str, Path]) -> str:
    for prefix, place in places.items():
        if text == prefix or text.startswith(f"{prefix}/"):
            return f"{place}{text.removeprefix(prefix)}"
    return text


def _refuse(constant: str) -> None:
    raise AssertionError(f"not strict JSON: {constant}")
