"""The GPU memory that a training takes at most, on each of its GPUs.

What is counted, in the order of time within a step: what lies there all the time (weights, optimizer), what
the forward pass leaves for the backward pass (each layer's inputs, or everything inside the layers without
gradient checkpointing), the logits of the whole vocabulary, and the gradients. Gradients grow while logits and
activations are given back, so the larger of the two counts, and a part of the smaller one for memory that
torch keeps without using it. The constants were fitted to real runs (docs/estimates.md).
"""

import msgspec

from loraforge.swift.estimating.shapes import Shape

GIB = 2**30
HALF = 16  # bits
PAIRED = frozenset({"dpo", "orpo", "simpo", "cpo", "rm"})  # chosen and rejected in one pass
REFERRING = frozenset(
    {"dpo", "kto", "grpo"}
)  # full fine-tuning needs a second model to compare with
UNKNOWN_METHODS = frozenset({"ppo", "gkd"})  # further models whose size nobody tells

CONTEXT_BYTES = int(0.75 * GIB)  # CUDA's own, the same in every run
SLACK_BYTES = int(0.45 * GIB)  # torch's pools, however small the model
KEPT_SHARE = 0.75  # of the smaller phase, kept by torch's allocator
SPARE = 1.25  # over what comes and goes
LOGIT_BYTES = {2: 12, 4: 16}  # by bytes of a weight: logits, float32 copy, their gradients
LAYER_HIDDEN, LAYER_INTERMEDIATE = 34, 8  # bytes a token in a layer, by width, in half precision
ADAPTER_BYTES = 16  # a LoRA parameter: weight, gradient, two moments in float32
QUANTISED_OVERHEAD = 1.1  # scales, and layers that stay as they are
MIXED_WEIGHT, MIXED_GRADIENT, MIXED_OPTIMIZER = (
    4,
    4,
    8,
)  # bytes a parameter, of sharded float32 copies


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What decides the memory.

    is_full: all weights are trained, else LoRA. bits: of a weight, 16 or 32, less when quantised. length:
    tokens of the longest row, completions included. accumulates: gradients stay for several passes.
    sharding: "", "zero1", "zero2", "zero3" or "fsdp", over ``world`` processes; offloads: the optimizer's
    part lies in the host's memory. method: of alignment, "" = plain. is_eager: attention without a fused kernel.
    """

    shape: Shape
    is_full: bool = False
    bits: float = 16
    rank: int = 8
    batch: int = 1
    length: int
    checkpointing: bool = True
    accumulates: bool = False
    method: str = ""
    world: int = 1
    sharding: str = ""
    offloads: bool = False
    is_eager: bool = False


class Memory(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes on each GPU: what stays, what comes and goes, and the rest."""

    weights: int
    trained: int  # optimizer, adapters, a model to compare with
    passing: int  # activations, logits or gradients
    overhead: int = CONTEXT_BYTES + SLACK_BYTES

    @property
    def total(self) -> int:
        return self.weights + self.trained + self.passing + self.overhead


def memory_of(plan: Plan) -> Memory:
    """The highest memory on each GPU."""
    width = 4 if plan.bits > HALF else 2
    weights = _weights(plan, width)
    gradients, optimizer = _trained(plan, width)
    tokens = plan.batch * plan.length * (2 if plan.method in PAIRED else 1)
    passes = _activations(plan, tokens, width) + tokens * plan.shape.vocabulary * LOGIT_BYTES[width]
    embedding = 2 * plan.shape.vocabulary * plan.shape.hidden * width if plan.is_full else 0
    if plan.accumulates and plan.is_full:
        passes += gradients
    gradients += embedding
    passing = max(passes, gradients) + KEPT_SHARE * min(passes, gradients)
    if plan.is_full and plan.method in REFERRING:
        optimizer += weights
    return Memory(weights=int(weights), trained=int(optimizer), passing=int(passing * SPARE))


def _split(plan: Plan, *kinds: str) -> int:
    """Over how many GPUs this part is spread."""
    return max(1, plan.world) if plan.sharding in kinds else 1


def _weights(plan: Plan, width: int) -> float:
    shape = plan.shape
    if plan.bits < HALF:
        ends = 2 * shape.vocabulary * shape.hidden
        body = max(shape.parameters - ends, 0)
        whole = min(ends, shape.parameters) * 2 + body * plan.bits / 8 * QUANTISED_OVERHEAD
        return whole / _split(plan, "zero3", "fsdp")
    whole = shape.parameters * width
    spread = _split(plan, "zero3", "fsdp")
    # Two layers are together at a time while the others are elsewhere.
    gathered = 2 * whole / shape.layers if spread > 1 else 0
    return whole / spread + gathered


def _trained(plan: Plan, width: int) -> tuple[float, float]:
    """Gradients, and what else the training itself keeps."""
    if not plan.is_full:
        return 0, plan.shape.lora_parameters(plan.rank) * ADAPTER_BYTES
    parameters = plan.shape.parameters
    if not plan.sharding:
        return parameters * width, 2 * parameters * width
    gradients = parameters * MIXED_GRADIENT / _split(plan, "zero2", "zero3", "fsdp")
    optimizer = parameters * (MIXED_WEIGHT + MIXED_OPTIMIZER)
    spread = optimizer / _split(plan, "zero1", "zero2", "zero3", "fsdp")
    return gradients, 0 if plan.offloads else spread


def _activations(plan: Plan, tokens: int, width: int) -> float:
    shape = plan.shape
    inside = LAYER_HIDDEN * shape.hidden + LAYER_INTERMEDIATE * shape.intermediate
    layer = tokens * inside * width / 2
    if plan.is_eager:
        layer += 8 * tokens * plan.length * shape.heads
    if not plan.checkpointing:
        return layer * shape.layers
    return layer + tokens * shape.hidden * shape.layers * width
