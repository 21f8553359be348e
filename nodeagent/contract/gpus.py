"""What a node says of its GPUs beside their readings: whether they can be given to jobs, and why not."""

import msgspec

# Kinds of marks. An agent of a newer release may know others; `blocks` says what they mean.
LOST = "gpu:lost"  # the driver does not reach it any more
ECC = "gpu:ecc"  # uncorrected memory errors, or memory rows that could not be replaced
CHECK_FAILED = "gpu:check_failed"  # no right result from a computation on it
UNCHECKED = "gpu:unchecked"  # that computation is still to come
FOREIGN = "gpu:foreign"  # somebody else's process is on it
DIRTY = "gpu:dirty"  # its memory is not free, though no job of ours holds it
HOT = "gpu:hot"
SLOWED = "gpu:slowed"  # slower than it could be, to protect itself


class GpuMark(msgspec.Struct, frozen=True, kw_only=True):
    """Something about a GPU. blocks: it is given to no job meanwhile.

    detail: one line for people of any language: figures and names, a driver's own words; what ``kind`` means is
    said by the control plane.
    """

    kind: str
    detail: str = ""
    blocks: bool = True


class GpuCheck(msgspec.Struct, frozen=True, kw_only=True):
    """What a short computation on the GPU gave, in the training environment itself.

    detail: why it failed, one line. torch: its version. tflops: of a matrix product, billions of
    operations a millisecond. at: seconds since 1970 UTC.
    """

    ok: bool
    detail: str = ""
    torch: str = ""
    tflops: float = 0.0
    at: float = 0.0


class GpuState(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU, as a heartbeat tells it. check None: not made yet."""

    uuid: str
    marks: list[GpuMark] = []
    check: GpuCheck | None = None
