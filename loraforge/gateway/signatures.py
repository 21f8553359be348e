"""Lines by which a trainer's log says why it ended: each as exact as the program that writes it. Pure.

A log is full of other people's words (rows of the dataset, arguments, warnings that were survived), so a
signature takes the whole shape of a line, from its beginning, never a word anywhere in it. Under torchrun
a line may begin with the rank.
"""

import re
from collections.abc import Sequence

_RANK = r"^\s*(?:\[rank\d+\]:\s?)?"


def _raised(classes: str, message: str = "") -> str:
    """The closing line of a traceback: the class with or without its module, and how its text begins."""
    return rf"{_RANK}(?:[A-Za-z_][\w.]*\.)?(?:{classes}): {message}" if message else (
        rf"{_RANK}(?:[A-Za-z_][\w.]*\.)?(?:{classes})(?::|$)"
    )  # fmt: skip


def _cuda(message: str) -> str:
    return _raised("RuntimeError|AcceleratorError|OutOfMemoryError", f"CUDA error: (?:{message})")


Rule = tuple[str, re.Pattern[str]]


def _rules(*table: tuple[str, Sequence[str]]) -> tuple[Rule, ...]:
    return tuple((reason, re.compile("|".join(patterns))) for reason, patterns in table)


# In order: a cause stands before what follows from it on other ranks.
RULES = _rules(
    (
        "user:gpu_out_of_memory",
        [
            _raised("OutOfMemoryError|RuntimeError", r"(?:CUDA|HIP|XPU|NPU) out of memory\. Tried"),
            _cuda("out of memory"),
        ],
    ),
    (
        "node:disk_full",
        [
            _raised("OSError", r"\[Errno 28\] No space left on device"),
            _raised("OSError", r"\[Errno 122\] Disk quota exceeded"),
            _raised("SafetensorError", r".*No space left on device \(os error 28\)"),
        ],
    ),
    (
        "node:gpu_error",
        [_cuda("uncorrectable ECC error encountered|uncorrectable NVLink error detected")],
    ),
    (
        "node:gpu_lost",
        [
            _raised("NVMLError_GpuIsLost|NVMLError_GPUIsLost", "GPU is lost"),
            r"^Unable to determine the device handle for GPU\S*.*: GPU is lost",
            _raised("RuntimeError|AcceleratorError", r"CUDA driver error: GPU is lost"),
        ],
    ),
    (
        "node:gpu_missing",
        [
            _raised("RuntimeError", r"No CUDA GPUs are available"),
            _raised("RuntimeError", r"Found no NVIDIA driver on your system\."),
            _cuda(
                "no CUDA-capable device is detected|all CUDA-capable devices are busy or unavailable"
                "|system not yet initialized|invalid device ordinal"
            ),
        ],
    ),
    (
        "platform:wrong_image",
        [
            _raised("RuntimeError", r"The NVIDIA driver on your system is too old"),
            _cuda(
                "no kernel image is available for execution on the device|CUDA driver version is "
                "insufficient|the provided PTX was compiled with an unsupported toolchain"
            ),
        ],
    ),
    ("code:gpu_assert", [_cuda("device-side assert triggered")]),
    (
        "code:gpu_access",
        [_cuda("an illegal memory access was encountered|misaligned address|unspecified launch f")],
    ),
    (
        "platform:shared_memory",
        [
            r"^ERROR: Unexpected bus error encountered in worker\. This might be caused by "
            r"insufficient shared memory",
            _raised("RuntimeError", r"unable to (?:open|write to|mmap) .*shared memory|"
                    r"unable to write to file </torch_"),
        ],
    ),
    ("user:unknown_argument", [_raised("ValueError", r"remaining_argv: \[")]),
    (
        "user:bad_argument",
        [
            r"^[\w.-]+: error: (?:argument |unrecognized arguments: |ambiguous option: "
            r"|the following arguments are required: )"
        ],
    ),
    (
        "user:hub_token_missing",
        [
            _raised("NotLoginException"),
            r"^Access to (?:model|dataset) \S+ is restricted\. You must have access to it and be "
            r"authenticated to access it\. Please log in\.",
        ],
    ),
    (
        "user:hub_token_refused",
        [
            _raised("GatedRepoError"),
            r"^Access to (?:model|dataset) \S+ is restricted and you are not in the authorized list",
            _raised("OSError", r"You are trying to access a gated repo\."),
            r"^Invalid credentials in Authorization header",
            _raised("HfHubHTTPError", r".*Invalid (?:user token|credentials in Authorization)"),
        ],
    ),
    (
        "user:model_unsupported",
        [
            _raised("ValueError", r"Failed to automatically match `model_type` for "),
            _raised("ValueError", r"Model \".*\" is not supported because no suitable `model_type`"),
            _raised("ValueError", r"model_type: '.*' not in \["),
            _raised("ValueError", r"The checkpoint you are trying to load has model type `.*` but "
                    r"Transformers does not recognize this architecture"),
        ],
    ),
    (
        "user:model_damaged",
        [
            _raised("SafetensorError", r"Error while deserializing"),
            _raised("OSError", r"\S+ does not appear to have a file named "),
            _raised("OSError", r"Unable to load weights from pytorch checkpoint file"),
        ],
    ),
    (
        "user:dataset_not_found",
        [
            _raised("ValueError", r"The local path does not exist, dataset_id: `"),
            _raised("DatasetNotFoundError|DataFilesNotFoundError"),
        ],
    ),
    (
        "user:model_not_found",
        [
            _raised("RepositoryNotFoundError|RevisionNotFoundError|NotExistError"),
            _raised("OSError", r"\S+ is not a local folder and is not a valid model identifier "),
        ],
    ),
    (
        "user:dataset_too_long",
        [_raised("ValueError", r"Failed to retrieve the dataset\. You can avoid this issue by ")],
    ),
    (
        "user:bad_dataset",
        [
            _raised("DatasetGenerationError|DatasetGenerationCastError|FileFormatError"),
            _raised("ArrowInvalid|ArrowTypeError"),
            _raised("ValueError", r"Please provide subsets\. available subsets: "),
        ],
    ),
    (
        "node:download_failed",
        [
            _raised("LocalEntryNotFoundError|FileDownloadError|ConnectTimeout|ReadTimeout"),
            _raised("MaxRetryError|NameResolutionError|ProxyError|ConnectError"),
            _raised("ConnectionError", r".*(?:Max retries exceeded|NameResolutionError|Temporary f)"),
            _raised("gaierror", r"\[Errno -[23]\] "),
        ],
    ),
    ("platform:missing_package", [_raised("ModuleNotFoundError|ImportError")]),
    (
        "node:out_of_memory",
        [
            _raised("OSError", r"\[Errno 12\] Cannot allocate memory"),
            _raised("RuntimeError", r".*DefaultCPUAllocator: can't allocate memory: you tried to "),
            _raised("MemoryError|_ArrayMemoryError"),
            r"^terminate called after throwing an instance of 'std::bad_alloc'",
        ],
    ),
    (
        "node:killed",
        [
            r"^\s*traceback : Signal 9 \(SIGKILL\) received by PID \d+",
            _raised("RuntimeError", r"DataLoader worker \(pid(?:\(s\))? \d+\) is killed by signal: K"),
        ],
    ),
)  # fmt: skip

# What a rank says because another one has ended: the cause only where no rank says anything else.
GPU_COMMUNICATION = re.compile(
    "|".join(
        (
            _raised("DistBackendError", r"NCCL error in: "),
            r"^nccl(?:System|Remote|Internal|UnhandledCuda)Error: ",
            r"^(?:\[rank\d+\]:)?\[\S+ \S+ ProcessGroupNCCL\.cpp:\d+\].*Watchdog caught collective ",
            r"^(?:\[rank\d+\]:)?\[E\S* ?\S*ProcessGroupNCCL\.cpp:\d+\].*Watchdog caught collective ",
        )
    )
)
FOLLOWS = frozenset({"ChildFailedError", "DistBackendError", "SignalException"})

# The file of SWIFT that raised what nobody caught -> whose fault that is.
RAISED_IN = (
    (re.compile(r'^\s*(?:\[rank\d+\]:\s+)?File ".*/swift/arguments/[\w/]+\.py", line \d+'), "user:bad_argument"),
    (re.compile(r'^\s*(?:\[rank\d+\]:\s+)?File ".*/swift/dataset/[\w/]+\.py", line \d+'), "user:bad_dataset"),
)  # fmt: skip
FRAME = re.compile(r'^\s*(?:\[rank\d+\]:\s+)?File "[^"]+", line \d+')
