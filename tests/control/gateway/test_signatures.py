"""Each signature knows the line that its program writes, and leaves alone what only looks like it."""

import pytest

from loraforge.gateway.ending import Ending
from loraforge.gateway.failures import failure_find
from loraforge.gateway.signatures import RULES
from loraforge.training.faults import FAULTS

FAILED = Ending(exit_code=1)

# Lines as torch 2.13, transformers 5.19, datasets, ms-swift 4.6.0, huggingface_hub and modelscope write them.
REAL = [
    (
        "user:gpu_out_of_memory",
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total capacity of "
        "79.11 GiB of which 1.10 GiB is free.",
    ),
    (
        "user:gpu_out_of_memory",
        "[rank1]: torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB.",
    ),
    ("user:gpu_out_of_memory", "torch.AcceleratorError: CUDA error: out of memory"),
    ("node:disk_full", "OSError: [Errno 28] No space left on device"),
    ("node:disk_full", "OSError: [Errno 122] Disk quota exceeded: '/lf/job/output/checkpoint-5'"),
    (
        "node:disk_full",
        "safetensors_rust.SafetensorError: Error while serializing: I/O error: No space left on device (os error 28)",
    ),
    ("node:gpu_error", "RuntimeError: CUDA error: uncorrectable ECC error encountered"),
    (
        "node:gpu_error",
        "torch.AcceleratorError: CUDA error: uncorrectable NVLink error detected during the execution",
    ),
    (
        "node:gpu_lost",
        "Unable to determine the device handle for GPU 0000:41:00.0: GPU is lost.  Reboot the system to",
    ),
    ("node:gpu_lost", "pynvml.NVMLError_GpuIsLost: GPU is lost"),
    ("node:gpu_missing", "RuntimeError: No CUDA GPUs are available"),
    ("node:gpu_missing", "RuntimeError: CUDA error: no CUDA-capable device is detected"),
    (
        "node:gpu_missing",
        "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU and installed",
    ),
    (
        "platform:wrong_image",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ),
    (
        "platform:wrong_image",
        "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    ),
    ("code:gpu_assert", "RuntimeError: CUDA error: device-side assert triggered"),
    (
        "code:gpu_access",
        "torch.AcceleratorError: CUDA error: an illegal memory access was encountered",
    ),
    (
        "platform:shared_memory",
        "ERROR: Unexpected bus error encountered in worker. This might be caused by insufficient shared memory (shm).",
    ),
    ("user:unknown_argument", "ValueError: remaining_argv: ['--lora_ran', '8']"),
    ("user:bad_argument", "sft.py: error: argument --seed: invalid int value: 'x'"),
    ("user:bad_argument", "sft.py: error: unrecognized arguments: --foo"),
    ("user:hub_token_missing", "modelscope.hub.errors.NotLoginException: Please login first."),
    (
        "user:hub_token_missing",
        "Access to model meta-llama/Llama-3.1-8B is restricted. You must have access to it and be authenticated to "
        "access it. Please log in.",
    ),
    ("user:hub_token_refused", "huggingface_hub.errors.GatedRepoError: 403 Client Error."),
    ("user:hub_token_refused", "OSError: You are trying to access a gated repo."),
    (
        "user:hub_token_refused",
        "Access to model meta-llama/Llama-3.1-8B is restricted and you are not in the authorized list. Visit "
        "https://huggingface.co/meta-llama/Llama-3.1-8B to ask for access.",
    ),
    (
        "user:model_unsupported",
        "ValueError: Failed to automatically match `model_type` for `/lf/model`. Please specify `model_type` manually.",
    ),
    (
        "user:model_unsupported",
        'ValueError: Model "x/y" is not supported because no suitable `model_type` was found.',
    ),
    (
        "user:model_damaged",
        "safetensors_rust.SafetensorError: Error while deserializing header: incomplete metadata",
    ),
    (
        "user:model_damaged",
        "OSError: /lf/model does not appear to have a file named config.json. Checkout 'x' for available files.",
    ),
    ("user:model_not_found", "huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error."),
    ("user:model_not_found", "modelscope.hub.errors.NotExistError: The model: x/y not exists"),
    (
        "user:model_not_found",
        "OSError: x/y is not a local folder and is not a valid model identifier listed on 'https://huggingface.co/models'",
    ),
    (
        "user:dataset_not_found",
        "ValueError: The local path does not exist, dataset_id: `/lf/inputs/a.jsonl`. os.path.abspath(dataset_id): x",
    ),
    (
        "user:dataset_not_found",
        "datasets.exceptions.DatasetNotFoundError: Dataset 'x' doesn't exist on the Hub",
    ),
    (
        "user:dataset_too_long",
        "ValueError: Failed to retrieve the dataset. You can avoid this issue by increasing `max_length` or modifying",
    ),
    (
        "user:bad_dataset",
        "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset",
    ),
    (
        "user:bad_dataset",
        "pyarrow.lib.ArrowInvalid: JSON parse error: Missing a comma or '}' in row 3",
    ),
    ("user:bad_dataset", "ValueError: Please provide subsets. available subsets: ['a', 'b']"),
    (
        "node:download_failed",
        "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='www.modelscope.cn', port=443): Max retries "
        "exceeded with url: /api/v1/models/x",
    ),
    ("node:download_failed", "socket.gaierror: [Errno -3] Temporary failure in name resolution"),
    ("node:download_failed", "httpx.ConnectTimeout: timed out"),
    ("platform:missing_package", "ModuleNotFoundError: No module named 'bitsandbytes'"),
    ("node:out_of_memory", "OSError: [Errno 12] Cannot allocate memory"),
    ("node:out_of_memory", "MemoryError"),
    (
        "node:out_of_memory",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:119] err == 0. DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 400000000000 bytes. Error code 12 (Cannot allocate memory)",
    ),
    ("node:out_of_memory", "terminate called after throwing an instance of 'std::bad_alloc'"),
    ("node:killed", "  traceback : Signal 9 (SIGKILL) received by PID 4711"),
    ("node:killed", "RuntimeError: DataLoader worker (pid 4711) is killed by signal: Killed. "),
]

# The same words where they say nothing: data, arguments, warnings, other errors.
INNOCENT = [
    "[INPUT] How do I fix 'CUDA out of memory. Tried to allocate 2 GiB'?",
    "[LABELS] torch.OutOfMemoryError means that CUDA out of memory happened",
    "{'content': 'OSError: [Errno 28] No space left on device'}",
    "[WARNING:swift] No space left on device for the cache, going on without it",
    "user: what does 'uncorrectable ECC error encountered' mean?",
    "INFO: GPU is lost in thought",
    "UserWarning: CUDA initialization: No CUDA GPUs are available for this check",
    "[INFO:swift] args: remaining_argv: []",
    "assistant: sft.py: error: argument --seed: invalid int value",
    "see RepositoryNotFoundError in the docs of the hub",
    "[INFO] the dataset says: ArrowInvalid: nothing",
    "Retrying after ConnectTimeout, 3 left",
    "try: import x except ImportError: pass",
    "the process might run into a MemoryError: use fewer workers",
    "Signal 9 (SIGKILL) is what one sends last",
    "NCCL error in: a text about NCCL",
    "a row about a gated repo: You are trying to access a gated repo.",
    "W1127 the terminate called after throwing an instance of 'std::bad_alloc' was caught",
]


@pytest.mark.parametrize(("reason", "line"), REAL)
def test_a_real_line_is_known_and_kept(reason: str, line: str) -> None:
    found = failure_find(ending=FAILED, lines=["before", line, "after"])
    assert (found.reason, found.detail) == (reason, line.strip())


@pytest.mark.parametrize("line", INNOCENT)
def test_the_same_words_elsewhere_say_nothing(line: str) -> None:
    assert failure_find(ending=FAILED, lines=["before", line, "after"]).reason == "code:exit"


def test_every_signature_has_a_real_line_and_a_meaning() -> None:
    reasons = {reason for reason, _pattern in RULES}
    assert reasons == {reason for reason, _line in REAL}
    assert reasons <= FAULTS.keys()


TRACEBACK = "Traceback (most recent call last):"
NCCL = (
    "[rank1]: torch.distributed.DistBackendError: NCCL error in: "
    "/pytorch/torch/csrc/distributed/c10d/ProcessGroupNCCL.cpp:3690, remote process exited or there was a network error"
)
ELASTIC = [
    TRACEBACK,
    "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
]


def test_a_rank_that_only_lost_the_others_is_not_the_cause() -> None:
    own = [
        "[rank0]: " + TRACEBACK,
        '[rank0]:   File "/x/train.py", line 3',
        "[rank0]: KeyError: 'input_ids'",
    ]
    lines = [*own, "[rank1]: " + TRACEBACK, NCCL, *ELASTIC]
    found = failure_find(ending=FAILED, lines=lines)
    assert (found.reason, found.detail) == ("code:exception", "[rank0]: KeyError: 'input_ids'")
    memory = "[rank0]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert failure_find(ending=FAILED, lines=[memory, *lines]).reason == "user:gpu_out_of_memory"


@pytest.mark.parametrize(
    "line",
    [
        NCCL,
        "ncclSystemError: System call (e.g. socket, malloc) or external library call failed or device error.",
        "[rank3]:[E1127 10:00:00.000000000 ProcessGroupNCCL.cpp:685] [Rank 3] Watchdog caught collective operation "
        "timeout: WorkNCCL(SeqNum=12, OpType=ALLREDUCE) ran for 600026 milliseconds before timing out.",
    ],
)
def test_gpus_that_lost_contact(line: str) -> None:
    lines = [TRACEBACK, line, *ELASTIC]
    assert failure_find(ending=FAILED, lines=lines).reason == "node:gpu_communication"
    aborted = Ending(exit_code=134, killed_by=6)
    assert failure_find(ending=aborted, lines=lines).reason == "node:gpu_communication"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("swift/arguments/base_args/quant_args.py", "user:bad_argument"),
        ("swift/dataset/preprocessor/core.py", "user:bad_dataset"),
        ("swift/trainers/mixin.py", "code:exception"),
    ],
)
def test_where_swift_raised_it_tells_whose_it_is(file: str, reason: str) -> None:
    lines = [
        TRACEBACK,
        '  File "/opt/venv/lib/python3.11/site-packages/swift/pipelines/base.py", line 20, in main',
        f'  File "/opt/venv/lib/python3.11/site-packages/{file}", line 50, in __post_init__',
        "    raise ValueError('x')",
        "ValueError: x",
    ]
    found = failure_find(ending=FAILED, lines=lines)
    assert (found.reason, found.detail) == (reason, "ValueError: x")


def test_a_traceback_that_was_survived_does_not_explain_a_kill() -> None:
    lines = [TRACEBACK, "KeyError: 'x'", "step 7"]
    assert failure_find(ending=Ending(exit_code=137), lines=lines).reason == "node:killed"
    assert failure_find(ending=Ending(exit_code=247), lines=lines).reason == "node:killed"
    assert failure_find(ending=Ending(exit_code=143), lines=lines).reason == "node:interrupted"


def test_where_the_node_knows_little_the_log_is_asked() -> None:
    ending = Ending(reason="process:exit_unknown")
    assert failure_find(ending=ending, lines=["MemoryError"]).reason == "node:out_of_memory"
    assert failure_find(ending=ending, lines=["step 7"]).reason == "process:exit_unknown"
    told = Ending(exit_code=137, reason="node:oom_killed")
    assert failure_find(ending=told, lines=["MemoryError"]).reason == "node:oom_killed"
