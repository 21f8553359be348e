"""How an instance looks in a live frame. Apart from `transitions`, which only the writers of states may import."""

from typing import Any

from loraforge.instances.models import Instance

IN_FRAME = ("state", "step", "max_steps", "loss", "eta_s")  # columns that `status_frame` reads


def _duration(seconds: int) -> str:
    """``2h15m``, ``4m``, ``50s``: the short form of the live frame."""
    hours, rest = divmod(seconds, 3600)
    minutes = rest // 60
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m" if minutes else f"{rest}s"


def status_frame(instance: Instance, *, gpu_utilization: float | None = None) -> dict[str, Any]:
    """The live frame `train_status` (design.md section 6; tests/contract/golden holds one)."""
    return {
        "type": "train_status",
        "taskId": instance.pk,
        "data": {
            "status": str(instance.state),
            "progress": instance.progress,
            "step": instance.step,
            "maxSteps": instance.max_steps,
            "loss": instance.loss,
            "gpuUtilization": gpu_utilization,
            "eta": "" if instance.eta_s is None else _duration(instance.eta_s),
            "etaSeconds": instance.eta_s,
        },
    }
