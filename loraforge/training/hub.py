"""What a job has of model hubs: fetched by its node beforehand, so that the training needs no network.

The frozen argv names the places where the node puts it. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from loraforge.swift.catalogue import Value
from nodeagent.contract import paths

# SWIFT's own spelling (swift/dataset/dataset_syntax.py): [HF::|MS::]org/name[:subset[/subset]][#rows]
_DATASET = re.compile(
    r"(?:(?P<hub>HF|MS)::)?(?P<repo>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})"
    r"(?P<rest>(?::[^#]*)?(?:#\d+)?)",
    re.ASCII | re.IGNORECASE,
)
HUGGINGFACE, MODELSCOPE = "huggingface", "modelscope"
_HUBS = {"hf": HUGGINGFACE, "ms": MODELSCOPE}
# SWIFT's --report_to: these speak to a service, the others write files.
_REPORTERS = frozenset(
    {
        "wandb",
        "swanlab",
        "mlflow",
        "trackio",
        "clearml",
        "comet_ml",
        "neptune",
        "dagshub",
        "dvclive",
    }
    | {"flyte", "kubeflow", "azure_ml", "all"}
)
# --report_to -> the variable with its key
_KEYS = {"wandb": "WANDB_API_KEY", "swanlab": "SWANLAB_API_KEY"}
_HUB_KEYS = {HUGGINGFACE: "HF_TOKEN", MODELSCOPE: "MODELSCOPE_API_TOKEN"}


@dataclass(frozen=True, kw_only=True)
class HubFetch:
    """One fetch, as it is frozen on the job; see the contract's Fetch."""

    target: str
    kind: str
    hub: str
    repo: str
    revision: str = ""
    subfolder: str = ""

    @property
    def plain(self) -> dict[str, str]:
        return asdict(self)


def model_fetch(
    *, model: str, hub: str, revision: str = "", target: str = paths.MODEL
) -> HubFetch | None:
    """The fetch of a model ``org/name[:subfolder]``, the job's own if not said; None for a folder of the node."""
    if not hub:
        return None
    repo, _colon, subfolder = model.partition(":")
    return HubFetch(
        target=target,
        kind="model",
        hub=hub,
        repo=repo,
        revision=revision,
        subfolder=subfolder,
    )


def datasets_rewrite(
    arguments: Mapping[str, Value], *, use_hf: bool
) -> tuple[dict[str, Value], list[HubFetch]]:
    """The arguments with places on the node instead of hub ids, and what is to be fetched there.

    use_hf: ids without a prefix are Hugging Face's. What is no hub id stays as it is.
    """
    found: dict[tuple[str, str], HubFetch] = {}
    rewritten = dict(arguments)
    for name in ("dataset", "val_dataset"):
        items = arguments.get(name)
        if isinstance(items, list):
            rewritten[name] = [_item(item, found, use_hf=use_hf) for item in items]
    return rewritten, list(found.values())


def _item(
    item: float | str, found: dict[tuple[str, str], HubFetch], *, use_hf: bool
) -> float | str:
    match = _DATASET.fullmatch(item) if isinstance(item, str) else None
    if match is None:
        return item
    given = _HUBS.get((match["hub"] or "").lower())
    hub = given or (HUGGINGFACE if use_hf else MODELSCOPE)
    repo = match["repo"]
    # the last part is the dataset's own name: SWIFT knows by it how the rows are to be read
    target = f"{paths.DATA}/{len(found)}/{repo.partition('/')[2]}"
    fetch = found.setdefault(
        (hub, repo), HubFetch(target=target, kind="dataset", hub=hub, repo=repo)
    )
    return f"{fetch.target}{match['rest']}"


def needs_secrets(arguments: Mapping[str, Value], *, hub: str = "") -> dict[str, str]:
    """Environment variable -> kind of secret that the training needs of its owner.

    hub: the base model's; a push goes to the same one, and to ModelScope where it is a folder.
    """
    found = {variable: name for name, variable in _KEYS.items() if name in _reporters(arguments)}
    if arguments.get("push_to_hub") is True:
        hub = HUGGINGFACE if arguments.get("use_hf") is True else hub or MODELSCOPE
        found[_HUB_KEYS[hub]] = hub
    return found


def _reporters(arguments: Mapping[str, Value]) -> set[str]:
    given = arguments.get("report_to")
    return set(map(str, given if isinstance(given, list) else [given]))


def needs_network(arguments: Mapping[str, Value]) -> bool:
    """Whether the training itself speaks to others, while it runs."""
    speaks = bool(_REPORTERS & _reporters(arguments)) or bool(arguments.get("eval_url"))
    return speaks or arguments.get("push_to_hub") is True
