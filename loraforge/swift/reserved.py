"""Arguments that belong to the platform: nobody sets them by hand, and why.

The reasons come from how SWIFT behaves, measured with 4.6.0: a re-used output folder is appended
to, tokens end up in args.json, other plugins and signal handlers would take the place of the
platform's own.
"""

from loraforge.swift.jobtexts import gettext_noop
from loraforge.swift.problems import Problem

_ = gettext_noop

# Chosen in fields of their own; legal in a job's arguments, yet no part of "All arguments".
OWN_FIELDS = frozenset({"model", "dataset", "val_dataset"})

_FOLDER = _("--%(name)s belongs to the platform: every attempt has a folder of its own.")
_PLUGIN = _("--%(name)s belongs to the platform: it would run other code in place of ours.")
_DEVICE = _("--%(name)s belongs to the platform: it follows from the chosen GPUs.")
_SIGNAL = _(
    "--%(name)s belongs to the platform, which saves a checkpoint itself when it stops a job."
)
_RESUME = _("--%(name)s belongs to the platform: use Resume, or Train on from these weights.")
_ADDRESS = _("--%(name)s belongs to the platform: it gives a service its address.")
_SECRET = _("--%(name)s is a secret, and SWIFT writes its arguments into the output files.")
_CLI = _("--%(name)s cannot be given on SWIFT's command line.")
_TYPOS = _("--%(name)s belongs to the platform: it would hide misspelt arguments.")
_OFFLINE = _("--%(name)s belongs to the platform: it would ask a model hub at every start.")
_PUSH = _("--%(name)s belongs to the platform: push a finished checkpoint with Export.")
_BESIDE = _("--%(name)s is chosen in a field of its own, or follows from it.")
_MEGATRON = _("--%(name)s needs Megatron, which the training environment does not have.")
_SERVER = _("--%(name)s needs a service beside the job, which cannot be started here yet.")

RESERVED: dict[str, str] = {
    "output_dir": _FOLDER,
    "add_version": _FOLDER,
    "logging_dir": _FOLDER,
    "result_path": _FOLDER,
    "eval_output_dir": _FOLDER,
    "output_file": _FOLDER,
    "create_checkpoint_symlink": _FOLDER,
    "external_plugins": _PLUGIN,
    "custom_register_path": _PLUGIN,
    "custom_dataset_info": _PLUGIN,
    "local_repo_path": _PLUGIN,
    "callbacks": _PLUGIN,
    "ignore_args_error": _TYPOS,
    "check_model": _OFFLINE,
    "use_cpu": _DEVICE,
    "ddp_backend": _DEVICE,
    "local_rank": _DEVICE,
    "use_ray": _DEVICE,
    "ray_exp_name": _DEVICE,
    "device_groups": _DEVICE,
    "enable_jit_checkpoint": _SIGNAL,
    "use_flash_ckpt": _SIGNAL,
    "resume_from_checkpoint": _RESUME,
    "resume_only_model": _RESUME,
    "load_args": _RESUME,
    "adapters": _RESUME,
    "host": _ADDRESS,
    "port": _ADDRESS,
    "server_name": _ADDRESS,
    "server_port": _ADDRESS,
    "share": _ADDRESS,
    "ssl_keyfile": _ADDRESS,
    "ssl_certfile": _ADDRESS,
    "hub_token": _SECRET,
    "swanlab_token": _SECRET,
    "swanlab_secret": _SECRET,
    "swanlab_webhook_url": _SECRET,
    "api_key": _SECRET,
    "push_to_hub": _PUSH,
    "liger_kernel_config": _CLI,
    "parallelism_config": _CLI,
    "reward_model": _BESIDE,
    "reward_adapters": _BESIDE,
    "ref_model": _BESIDE,
    "ref_adapters": _BESIDE,
    "teacher_model": _BESIDE,
    "teacher_adapters": _BESIDE,
    "cache_files": _FOLDER,
    "exist_ok": _FOLDER,
    "resume": _RESUME,
    "to_mcore": _MEGATRON,
    "to_hf": _MEGATRON,
    "mcore_model": _MEGATRON,
    "mcore_adapter": _MEGATRON,
    "test_convert_precision": _MEGATRON,
    "test_convert_dtype": _MEGATRON,
    "save_missing_weights": _MEGATRON,
    "thread_count": _MEGATRON,
    "vllm_server_base_url": _SERVER,
    "vllm_server_host": _SERVER,
    "vllm_server_port": _SERVER,
    "vllm_server_group_port": _SERVER,
    "vllm_server_timeout": _SERVER,
    "teacher_model_server": _SERVER,
}
# Reserved elsewhere, and what these commands are for.
_ALLOWED = {"export": frozenset({"push_to_hub"})}
_SECRET_ENDINGS = ("_token", "_secret", "_password", "api_key")


def reserved_reason(name: str, command: str = "") -> str | None:
    """Why an argument of a command is the platform's, as a text with `%(name)s`; None when it is the user's.

    A later SWIFT may bring more secrets, so names that end like one count as well.
    """
    if name in _ALLOWED.get(command, ()):
        return None
    if name in RESERVED:
        return RESERVED[name]
    return _SECRET if name.endswith(_SECRET_ENDINGS) else None


def reserved_problem(name: str, reason: str) -> Problem:
    """The refusal of a reserved argument."""
    return Problem(
        field=name,
        id="swift:argument_reserved",
        message=reason,
        remedy=_("Remove it."),
        params={"name": name},
    )
