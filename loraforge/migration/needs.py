"""What a node must have before an attempt of a job can go on there: its datasets and a checkpoint."""

from dataclasses import dataclass

from loraforge.instances.models import Attempt
from loraforge.training.launch import Launch, Resume, launch_freeze
from loraforge.training.models import Job
from nodeagent.contract.reports import staged_digest


@dataclass(frozen=True, kw_only=True)
class Needs:
    """size_bytes: of all files. digest: what a node says that has them all."""

    launch: Launch
    resume: Resume
    size_bytes: int
    digest: str


def needs_of(*, job: Job, attempt: Attempt, resume: Resume) -> Needs:
    """Of the attempt after this one, which has run: its launch is frozen."""
    launch = launch_freeze(job=job, attempt=attempt.number, device_kind="")
    files = [*resume.files, *(one for model in launch.checkpoints for one in model.files)]
    hashes = [one.sha256 for one in launch.inputs] + [one.sha256 for one in files]
    total = sum(one.dataset.size_bytes for one in launch.inputs)
    total += sum(one.size_bytes for one in files)
    return Needs(launch=launch, resume=resume, size_bytes=total, digest=staged_digest(hashes))
