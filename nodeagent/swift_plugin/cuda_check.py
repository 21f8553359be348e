"""Whether the one GPU that this process may use computes right: prints one JSON object.

Runs in the training environment, as jobs do, and imports nothing of ours. A product of matrices is compared
with the same product by the CPU, and a larger one is timed.
"""

import importlib
import json
import os
import sys
import time
from typing import Any

SIZE = 512
LARGE = 4096
ROUNDS = 8
WRONG_BY = 1e-3  # of the norm; float32 without TF32 lies far below
THREADS = "2"  # a thread for every core of a large machine would be more than a container may have


def check() -> dict[str, object]:
    """Raises whatever torch raises when the GPU cannot be used."""
    os.environ["OMP_NUM_THREADS"] = THREADS
    torch = importlib.import_module("torch")
    found = torch.cuda.device_count()
    if found != 1:
        text = f"torch {torch.__version__} sees {found} GPUs where it should see one."
        return {"ok": False, "detail": text}
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.manual_seed(time.time_ns() % 2**31)
    one, other = torch.randn(SIZE, SIZE), torch.randn(SIZE, SIZE)
    right = one.double() @ other.double()
    given = (one.cuda() @ other.cuda()).double().cpu()
    wrong_by = float((given - right).norm() / right.norm())
    if not wrong_by < WRONG_BY:  # also when it is no number
        return {"ok": False, "detail": f"A product of matrices is wrong by {wrong_by:.2e}."}
    return {"ok": True, "torch": torch.__version__, "tflops": speed(torch)}


def speed(torch: Any) -> float:
    """Of a product of half-precision matrices: 10**12 operations a second."""
    left = torch.randn(LARGE, LARGE, device="cuda", dtype=torch.float16)
    right = torch.randn(LARGE, LARGE, device="cuda", dtype=torch.float16)
    torch.matmul(left, right)
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _round in range(ROUNDS):
        torch.matmul(left, right)
    torch.cuda.synchronize()
    return round(2 * LARGE**3 * ROUNDS / (time.perf_counter() - began) / 1e12, 1)


def main() -> int:
    try:
        said = check()
    except Exception as error:  # whatever it is, it is the answer
        said = {"ok": False, "detail": f"{type(error).__name__}: {error}".splitlines()[0]}
    print(json.dumps(said), flush=True)  # noqa: T201 - read by the agent
    return 0 if said["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
