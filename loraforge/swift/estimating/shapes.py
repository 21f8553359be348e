"""The numbers of a model that decide what its training takes."""

import re

import msgspec

BILLION = 10**9
MILLION = 10**6
# A size in a name: Qwen2.5-7B, Qwen3-0.6B-Base, llama-350m. Of a mixture (30B-A3B) the first, larger one is
# the whole. A letter before it means something else (A3B, E4B).
_SIZE = re.compile(
    r"(?<![a-z0-9.])(\d{1,6}(?:\.\d{1,6})?)([bm])(?![a-z0-9])", re.IGNORECASE | re.ASCII
)


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """A decoder: parameters, and the widths that its intermediate results have."""

    parameters: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    vocabulary: int

    def lora_parameters(self, rank: int) -> int:
        """Of adapters of all linear layers."""
        narrow = self.hidden * self.kv_heads // self.heads
        attention = 2 * (self.hidden + self.hidden) + 2 * (self.hidden + narrow)
        return rank * self.layers * (attention + 3 * (self.hidden + self.intermediate))


# Widths of common models (Qwen2.5), by parameters. Their vocabulary is among the largest, so an
# estimate by them is rather too high than too low.
_TYPICAL = tuple(
    Shape(
        parameters=parameters,
        hidden=hidden,
        intermediate=intermediate,
        layers=layers,
        heads=heads,
        kv_heads=kv_heads,
        vocabulary=152_064,
    )
    for parameters, hidden, intermediate, layers, heads, kv_heads in (
        (494_032_768, 896, 4864, 24, 14, 2),
        (1_543_714_304, 1536, 8960, 28, 12, 2),
        (3_085_938_688, 2048, 11_008, 36, 16, 2),
        (7_615_616_512, 3584, 18_944, 28, 28, 4),
        (14_770_033_664, 5120, 13_824, 48, 40, 8),
        (32_763_876_352, 5120, 27_648, 64, 40, 8),
        (72_706_203_648, 8192, 29_568, 80, 64, 8),
    )
)
_NEAR = 1.15  # a name's number is rounded: 7B is 7.6 billion


def parameters_named(model: str) -> int | None:
    """The size that a model's id or folder tells in its last part, None without one."""
    last = model.rstrip("/").rsplit("/", 1)[-1]
    found = _SIZE.search(last.replace("_", "-"))
    if found is None:
        return None
    unit = BILLION if found[2].lower() == "b" else MILLION
    return int(float(found[1]) * unit) or None


def shape_named(model: str) -> Shape | None:
    """A model's likely shape by the size in its name: the next larger common one. None without a size."""
    parameters = parameters_named(model)
    if parameters is None:
        return None
    for typical in _TYPICAL:
        if parameters <= typical.parameters * _NEAR:
            return msgspec.structs.replace(
                typical, parameters=max(parameters, _rounded(parameters, typical))
            )
    return msgspec.structs.replace(_TYPICAL[-1], parameters=parameters)


def _rounded(parameters: int, typical: Shape) -> int:
    """The common model's own number where the name's is that one, rounded."""
    is_it = typical.parameters / _NEAR <= parameters <= typical.parameters * _NEAR
    return typical.parameters if is_it else parameters
