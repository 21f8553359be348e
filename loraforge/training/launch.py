"""Names that the frozen argv and the start command must agree on."""

from loraforge.training.models import JobDataset
from nodeagent.contract import paths

_PREFIX = {JobDataset.Use.TRAINING: "train", JobDataset.Use.VALIDATION: "val"}


def input_target(job_dataset: JobDataset) -> str:
    """Where a job sees an uploaded dataset, e.g. ``/lf/inputs/train-0-3f2a9c01b7d4.jsonl``.

    From the frozen hash, so that the same argv never means other rows.
    """
    prefix = _PREFIX[JobDataset.Use(job_dataset.use)]
    return f"{paths.INPUTS}/{prefix}-{job_dataset.position}-{job_dataset.sha256[:12]}.jsonl"
