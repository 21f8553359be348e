"""What is said about the arguments of alignment and of what does not train: id -> (message, remedy).

`problems.TEXTS` takes them over.
"""


def gettext_noop(text: str) -> str:
    """The same text, marked for the translators."""
    return text


_ = gettext_noop

JOB_TEXTS: dict[str, tuple[str, str]] = {
    "ref_model_unused": (
        _("%(value)s with this training method takes no reference model."),
        _("Remove it, or train with the method Full under DPO, KTO, PPO or GRPO."),
    ),
    "ref_adapter_unused": (
        _("%(value)s takes no LoRA weights as its reference."),
        _("Remove the reference model, or choose DPO, KTO or GRPO."),
    ),
    "ref_model_idle": (_("With --beta 0 the reference model is not looked at."), ""),
    "teacher_unused": (
        _("%(value)s has no teacher: the teacher model does nothing."),
        _("Choose GKD or GRPO, or remove it."),
    ),
    "teacher_self": (
        _("Without a teacher model the model learns from itself."),
        _("Choose a teacher model."),
    ),
    "reward_model_one": (
        _("PPO needs exactly one reward model."),
        _("Choose the result of an RM training, or a reward model of a model hub."),
    ),
    "reward_model_unused": (
        _("%(value)s has no rewards: the reward model does nothing."),
        _("Choose PPO or GRPO, or remove it."),
    ),
    "reward_files_unused": (
        _("%(value)s calls no reward functions: the files do nothing."),
        _("Choose GRPO, or remove them."),
    ),
    "reward_unknown": (
        _("There is no reward function %(value)s."),
        _("One of: %(choices)s. Or upload a file that registers it."),
    ),
    "reward_missing": (
        _("GRPO needs something that rewards."),
        _("Name reward functions, or choose a reward model."),
    ),
    "reward_weights_number": (
        _("--%(name)s has %(value)s weights for %(count)s rewards."),
        _("Give one weight for each reward function and reward model."),
    ),
    "soft_cache_missing": (
        _("The reward function soft_overlong needs --soft_cache_length."),
        _("Set --soft_cache_length."),
    ),
    "needs_reward_funcs": (
        _("--%(name)s needs reward functions."),
        _("Name some in --reward_funcs, or remove --%(name)s."),
    ),
    "generations_one": (
        _("GRPO compares the answers to one question, so one answer is too few."),
        _("Set --num_generations to 2 or more."),
    ),
    "generations_divide": (
        _(
            "%(total)s answers a step cannot be shared out in groups of %(value)s "
            "(--num_generations)."
        ),
        _(
            "Make batch size per GPU x processes x accumulation a multiple of --num_generations, or "
            "set --generation_batch_size to one."
        ),
    ),
    "generation_batch_steps": (
        _("--%(name)s does not fit --steps_per_generation: together they make %(value)s."),
        _("Leave one of the two out."),
    ),
    "generation_batch_whole": (
        _("--%(name)s is not a multiple of %(value)s, the batch of all processes."),
        _("Make it one."),
    ),
    "cached_unused": (
        _("%(value)s takes no cached dataset."), _("Choose the dataset itself.")
    ),
    "grpo_truncation": (_("GRPO shortens rows from the left, or leaves them out."), _("Use left or delete.")),
    "teacher_loss": (
        _("The loss %(value)s does not go together with a teacher."),
        _("Choose another loss, or remove the teacher model."),
    ),
    "rlsd_sdar": (
        _("--%(name)s does not go together with --advantage_reweight rlsd."),
        _("Remove one of the two."),
    ),
    "vllm_off": (_("--%(name)s does nothing without vLLM."), _("Set --use_vllm true, or remove it.")),
    "vllm_mode_missing": (_("vLLM needs --vllm_mode."), _("Set --vllm_mode colocate.")),
    "rollout_server": (
        _("--%(name)s needs a rollout service beside the job, which cannot be started here yet."),
        _("Use --vllm_mode colocate, or leave vLLM off."),
    ),
    "losses_dpo_only": (
        _("%(value)s takes one loss and no weights of losses."), _("Choose DPO, or remove --%(name)s.")
    ),
    "loss_weights_number": (
        _("--%(name)s has %(value)s weights for %(count)s losses."),
        _("Give one weight for each loss."),
    ),
    "seq_kd": (_("--seq_kd is not supported by SWIFT any more."), _("Remove it.")),
    "topk_positive": (_("--%(name)s must be more than 0."), _("Remove it to use all tokens.")),
    "gkd_liger": (
        _("--use_liger_kernel needs a teacher model, and goes without --gkd_logits_topk."),
        _("Turn --use_liger_kernel off."),
    ),
    "method_unsupported": (
        _("%(value)s does not support --%(name)s."), _("Remove --%(name)s.")
    ),
    "ppo_steps": (
        _("PPO does not end at --max_steps: it goes on until its rows are used up."),
        _("Choose fewer rows instead."),
    ),
    "calibration_missing": (
        _("--quant_method %(value)s needs rows to measure with."), _("Choose a dataset.")
    ),
    "one_process": (
        _("This job type runs in one process."), _("Turn data parallel off; it may still use several GPUs.")
    ),
    "stream_file": (_("--%(name)s makes the answers come one after the other, and slower."), _("Remove it.")),
    "export_nothing": (
        _("Nothing is chosen that the export should make."),
        _("Choose to merge LoRA, quantize, cache the dataset or push to a model hub."),
    ),
    "export_two": (
        _("--%(name)s and %(value)s are two exports."),
        _("Make two jobs, the second from the result of the first."),
    ),
    "merge_without_lora": (
        _("There are no LoRA weights to merge."),
        _("Choose a checkpoint that was trained with LoRA."),
    ),
    "hub_model_missing": (
        _("Nobody said where to push to."), _("Set --hub_model_id to name/model.")
    ),
    "quantise_adapter": (
        _("LoRA weights are not quantized."), _("Merge them first, then quantize the result.")
    ),
    "cached_plain": (
        _("--%(name)s does not go together with a cached dataset."),
        _("Remove it here; set it in the training."),
    ),
    "eval_dataset_missing": (
        _("No evaluation set is chosen."), _("Set --eval_dataset, for example to general_mcq.")
    ),
    "eval_backend_absent": (
        _("The evaluation backend %(value)s is not part of the training environment."),
        _("Use Native."),
    ),
    "sample_service": (
        _("--%(name)s asks a service elsewhere, which cannot be used here yet."), _("Use the default.")
    ),
    "sample_adapter": (
        _("Sampling with %(value)s does not take LoRA weights."),
        _("Use the engine transformers, or merge the weights first."),
    ),
}  # fmt: skip
