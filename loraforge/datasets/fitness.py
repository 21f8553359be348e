"""Which kinds of work a dataset's rows are good for. Pure."""

from collections.abc import Collection

from loraforge.datasets.rowformats import ANSWER, LABEL, POSITIVE, REJECTED, TEXT

PAIRS = frozenset({"dpo", "orpo", "simpo", "cpo", "rm"})
_TASKS = {"seq_cls": LABEL, "embedding": "", "reranker": "", "generative_reranker": ""}
_NEEDS = {"pt": ANSWER, "sft": ANSWER, "sample": ANSWER}


def lacks(
    *,
    command: str,
    row_format: str,
    traits: Collection[str],
    rlhf_type: str = "",
    task_type: str = "",
) -> str:
    """What the rows lack for it: "answer", "rejected", "label", "questions"; empty when they fit."""
    if command not in {"pt", "export"} and row_format == TEXT:
        return "questions"
    needed = _NEEDS.get(command, "")
    if command == "rlhf":
        needed = REJECTED if rlhf_type in PAIRS else LABEL if rlhf_type == "kto" else ""
    needed = _TASKS.get(task_type, needed) if command in _NEEDS else needed
    return "" if not needed or needed in traits else needed


def uses(*, row_format: str, traits: Collection[str]) -> list[str]:
    """Ids of what the rows are made for, the most particular first; the page has words for them."""
    found = []
    if REJECTED in traits:
        found.append("pairs")
    if LABEL in traits:
        found.append("labels")
    if POSITIVE in traits:
        found.append("similar")
    if row_format == TEXT:
        return [*found, "text"]
    return [*found, "answers" if ANSWER in traits else "prompts"]
