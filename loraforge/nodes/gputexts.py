"""What a mark of a GPU says to people."""

from django.utils.translation import gettext_lazy

from nodeagent.contract import gpus as kinds

_LABELS = {
    kinds.LOST: gettext_lazy("The driver does not reach it"),
    kinds.ECC: gettext_lazy("Memory errors"),
    kinds.CHECK_FAILED: gettext_lazy("CUDA check failed"),
    kinds.UNCHECKED: gettext_lazy("CUDA check to come"),
    kinds.FOREIGN: gettext_lazy("In use by others"),
    kinds.DIRTY: gettext_lazy("GPU memory not released, held back"),
    kinds.HOT: gettext_lazy("Hot"),
    kinds.SLOWED: gettext_lazy("Slows itself down"),
}


def mark_label(kind: str) -> str:
    """A few words; the kind itself for one of a newer node agent."""
    return str(_LABELS.get(kind, kind))
