"""The way of an attempt to its first training step, in words."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from loraforge.core.sizes import file_size
from loraforge.instances.models import Attempt
from loraforge.instances.preparing import Stage, stages_of

STAGES: dict[str, Promise] = {
    "queued": gettext_lazy("Queue"),
    "placed": gettext_lazy("Placement"),
    "image": gettext_lazy("Image"),
    "model": gettext_lazy("Model"),
    "data": gettext_lazy("Data"),
    "container": gettext_lazy("Container"),
    "imports": gettext_lazy("Loading SWIFT"),
    "first_step": gettext_lazy("First step"),
}
# What is said below the state while one is under way.
NOW: dict[str, Promise] = {
    "image": gettext_lazy("Pulling the image"),
    "model": gettext_lazy("Downloading the model"),
    "data": gettext_lazy("Fetching and checking the data"),
    "container": gettext_lazy("Starting the container"),
}


@dataclass(frozen=True)
class ShownStage:
    """A stage as the page shows it. progress: "37 %, 2.1 GB of 5.6 GB", or empty."""

    stage: Stage
    label: str
    progress: str

    @property
    def is_now(self) -> bool:
        return self.stage.seconds is None


def timeline_of(attempt: Attempt | None) -> list[ShownStage]:
    """First to last; empty before the first attempt."""
    stages = stages_of(attempt) if attempt is not None else []
    return [
        ShownStage(stage=one, label=str(STAGES[one.name]), progress=_progress(one))
        for one in stages
    ]


def now_text(attempt: Attempt | None) -> str:
    """``Downloading the model: 37 %, 2.1 GB of 5.6 GB``; empty when no step is under way."""
    stages = stages_of(attempt) if attempt is not None else []
    current = next((one for one in stages if one.name in NOW and one.seconds is None), None)
    if current is None:
        return ""
    progress = _progress(current)
    return f"{NOW[current.name]}: {progress}" if progress else str(NOW[current.name])


def _progress(stage: Stage) -> str:
    if not stage.total_bytes:
        return ""
    sizes = {"total": file_size(stage.total_bytes)}
    if stage.ended_at is not None:
        return sizes["total"]
    sizes |= {"percent": str(stage.percent), "done": file_size(stage.done_bytes)}
    return _("%(percent)s %%, %(done)s of %(total)s") % sizes
