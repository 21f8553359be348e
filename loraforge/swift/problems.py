"""What is said to a person about an argument. English texts with named placeholders.

`gettext_noop` marks a text for translation without Django (makemessages knows the name); who shows
a problem writes `_(problem.message) % problem.params`.
"""

from typing import Literal

import msgspec

from loraforge.swift.jobtexts import JOB_TEXTS, gettext_noop


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong, or doubtful (`warning`: the job may start all the same).

    field: the argument's name, or "command". id: `swift:<reason>`, stable. message, remedy: English
    with `%(name)s` placeholders, filled from params; remedy may be empty.
    """

    field: str
    id: str
    message: str
    remedy: str = ""
    params: dict[str, str] = {}
    level: Literal["error", "warning"] = "error"

    @property
    def text(self) -> str:
        """Message and remedy in English, filled in."""
        return " ".join(part % self.params for part in (self.message, self.remedy) if part)


class Text(msgspec.Struct, frozen=True):
    message: str
    remedy: str = ""


def _text(message: str, remedy: str = "") -> Text:
    return Text(message, remedy)


_ = gettext_noop

TEXTS: dict[str, Text] = {
    "command_unknown": _text(_("SWIFT has no command %(value)s."), _("One of: %(choices)s.")),
    "argument_unknown": _text(
        _("There is no argument --%(name)s."), _("Look it up under All arguments.")
    ),
    "argument_similar": _text(
        _("There is no argument --%(name)s."), _("Did you mean --%(suggestion)s?")
    ),
    "argument_abbreviated": _text(
        _("--%(name)s is not the full name of an argument."), _("Did you mean --%(suggestion)s?")
    ),
    "argument_renamed": _text(
        _("--%(name)s is not called so any more in SWIFT %(version)s."),
        _("Use --%(suggestion)s."),
    ),
    "argument_twice": _text(
        _("--%(name)s is given twice, in two spellings."), _("Keep one of them.")
    ),
    "negative_value": _text(
        _("--%(name)s means “--%(positive)s false” and takes no value."),
        _("Use --%(positive)s with true or false."),
    ),
    "value_not_bool": _text(_("--%(name)s is true or false, not %(value)s.")),
    "value_not_int": _text(_("--%(name)s takes a whole number, not %(value)s.")),
    "value_not_float": _text(_("--%(name)s takes a number, not %(value)s.")),
    "value_not_finite": _text(_("--%(name)s cannot be %(value)s: it takes a finite number.")),
    "value_not_text": _text(_("--%(name)s takes a text, not %(value)s.")),
    "value_not_list": _text(_("--%(name)s takes a list, not %(value)s.")),
    "value_not_json": _text(
        _("--%(name)s takes a JSON object, not %(value)s."), _('Write it like {"key": 1}.')
    ),
    "value_empty_list": _text(
        _("--%(name)s has an empty list."), _("Leave it out to use the default.")
    ),
    "value_choice": _text(_("%(value)s is not a value of --%(name)s."), _("One of: %(choices)s.")),
    "value_range": _text(_("--%(name)s must be %(limit)s, not %(value)s.")),
    "value_unreadable": _text(
        _("--%(name)s holds a character that cannot be given to a program."),
        _("Remove zero bytes and broken characters."),
    ),
    "value_secret": _text(
        _(
            "--%(name)s holds what looks like a secret, and SWIFT writes its arguments into the output files."
        ),
        _("Store it on the account page instead."),
    ),
    "value_too_long": _text(
        _("--%(name)s is longer than %(limit)s bytes."), _("Put long texts into the dataset.")
    ),
    "value_long_list": _text(
        _("--%(name)s has more than %(limit)s words."), _("Use a pattern, or fewer words.")
    ),
    "value_like_flag": _text(
        _("--%(name)s: %(value)s begins with a dash, and SWIFT would read it as an argument."),
        _("Remove the dash at its beginning."),
    ),
    "dataset_path": _text(
        _("--%(name)s takes names of remote datasets, and %(value)s is a path."),
        _("Upload the file, then choose it under Dataset."),
    ),
    "model_missing": _text(_("No base model is chosen."), _("Choose one under Base model.")),
    "dataset_missing": _text(
        _("No dataset is chosen."), _("Upload one, or name a remote dataset.")
    ),
    "precision_both": _text(
        _("bf16 and fp16 are both on."), _("Choose one precision; bf16 where the GPU has it.")
    ),
    "precision_on_cpu": _text(
        _("fp16 does not train on a CPU."), _("Use fp32 or bf16, or choose a GPU.")
    ),
    "precision_full": _text(
        _("Weights in float16 cannot be trained in full: their gradients have too little range."),
        _("Choose bfloat16, or float32 with fp16 on."),
    ),
    "quantised_full": _text(
        _("Quantised weights cannot be trained with the method Full."),
        _("Use LoRA (QLoRA), or remove --quant_bits and --quant_method."),
    ),
    "quant_bits_missing": _text(
        _("--quant_method %(value)s needs --quant_bits."), _("Set --quant_bits, for example to 4.")
    ),
    "quant_method_missing": _text(
        _("--quant_bits does nothing without --quant_method."),
        _("Set --quant_method, for example to bnb."),
    ),
    "num_labels_missing": _text(
        _("--task_type seq_cls needs --num_labels."), _("Set the number of classes.")
    ),
    "streaming_without_steps": _text(
        _("A streamed dataset has no known length, so --max_steps is needed."),
        _("Set --max_steps."),
    ),
    "packing_attention": _text(
        _("--%(name)s needs a flash attention implementation."),
        _("Set --attn_impl flash_attn (a GPU node only), or turn --%(name)s off."),
    ),
    "gpu_only": _text(_("--%(name)s needs a GPU."), _("Choose a GPU, or remove --%(name)s.")),
    "sharding_both": _text(
        _("DeepSpeed and FSDP are both on."), _("Remove --deepspeed or --fsdp.")
    ),
    "device_map_sharded": _text(
        _("--device_map does not go together with --%(name)s."), _("Remove --device_map.")
    ),
    "best_model_steps": _text(
        _("--load_best_model_at_end needs a validation at every saved step."),
        _("Make --save_steps a multiple of --eval_steps."),
    ),
    "template_foreign": _text(
        _("The chat template %(value)s was not made for the model type %(model_type)s."),
        _("Usual ones: %(choices)s."),
    ),
    "validation_missing": _text(
        _("--%(name)s does nothing: there is no validation set."),
        _("Set a validation split, or choose a validation set."),
    ),
    "steps_win": _text(
        _("--max_steps is set, so --num_train_epochs does nothing."), _("Remove one of them.")
    ),
    "warmup_twice": _text(
        _("--warmup_steps is set, so --warmup_ratio does nothing."), _("Remove one of them.")
    ),
    "tuner_unused": _text(
        _("--%(name)s does nothing with the training method %(value)s."),
        _("Remove it, or choose LoRA."),
    ),
    "environment_unknown": _text(
        _("The environment variable %(name)s is not one that a job may set."),
        _("Choose one of the list under Environment variables."),
    ),
    "environment_choice": _text(
        _("%(value)s is not a value of %(name)s."), _("One of: %(choices)s.")
    ),
    "environment_number": _text(
        _("%(name)s takes a number from %(low)s to %(high)s, not %(value)s.")
    ),
    "environment_text": _text(
        _("%(name)s does not take %(value)s."), _("Write it like %(example)s.")
    ),
    "paste_many": _text(_("Only the first %(limit)s names were taken.")),
    "paste_long": _text(_("The text is longer than %(limit)s characters.")),
    "paste_unreadable": _text(
        _("This is neither a swift command nor a YAML or JSON file with arguments."),
        _("A file is a list of name: value, without references."),
    ),
    "paste_quotes": _text(_("A quote is not closed."), _("Copy the whole command.")),
    "paste_megatron": _text(
        _("Megatron commands are not run here."), _("Paste a command that begins with swift.")
    ),
    "paste_more": _text(_("Only the first command was taken.")),
    "paste_loose": _text(
        _("%(value)s belongs to no argument and was left out."),
        _("Of a configuration file, paste what stands in it."),
    ),
    "paste_variable": _text(
        _("--%(name)s holds a shell variable (%(value)s) and was left out."),
        _("Put its value in its place."),
    ),
    "paste_words": _text(
        _("--%(name)s takes one value, not %(value)s."), _("Put quotes around it.")
    ),
    "paste_renamed": _text(_("--%(name)s is now called --%(suggestion)s.")),
    "paste_inside": _text(
        _("--%(name)s %(value)s is a path inside another job and was left out."),
        _("Choose it in its field."),
    ),
    "paste_environment": _text(
        _("The environment variable %(value)s was left out: a job may not set it.")
    ),
    "saving_off": _text(
        _("--save_strategy no: only the platform's own checkpoints are saved, and no final one."),
        _("Use steps or epoch."),
    ),
    **{name: Text(*texts) for name, texts in JOB_TEXTS.items()},
}


def problem(
    field: str,
    reason: str,
    *,
    level: Literal["error", "warning"] = "error",
    **params: object,
) -> Problem:
    """The problem `swift:<reason>` of a field; the field's name is the parameter `name`."""
    text = TEXTS[reason]
    filled = {"name": field, **{key: _shown(value) for key, value in params.items()}}
    return Problem(
        field=field,
        id=f"swift:{reason}",
        message=text.message,
        remedy=text.remedy,
        params=filled,
        level=level,
    )


def _shown(value: object) -> str:
    """A value as a person reads it, short enough for one line."""
    longest = 200
    shown = value if isinstance(value, str) else str(value)
    return shown if len(shown) <= longest else f"{shown[:longest]}…"
