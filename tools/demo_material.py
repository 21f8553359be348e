"""Make the demo's material: a tiny Qwen2 model with a chat template, and a dataset of 400 rows.

Run with the training environment's Python:

    .venv-swift/bin/python tools/demo_material.py FOLDER

It makes FOLDER/model and FOLDER/data.jsonl, the same on every run, and does nothing when both are
whole. A half-made model is never seen: it is made beside its place and then renamed.
"""

import argparse
import contextlib
import importlib
import json
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

SEED = 42
ROWS = 400
NUMBERS = 40
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
MODEL_FILES = (
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
)
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def rows() -> list[dict[str, Any]]:
    """Sums in words: small enough to be learnt within a minute on a CPU."""
    chance = random.Random(SEED)  # noqa: S311 - sample rows, no secret
    made = []
    for _ in range(ROWS):
        first, second = chance.randrange(NUMBERS), chance.randrange(NUMBERS)
        question = f"what is {first} plus {second}?"
        answer = f"the answer is {first + second}."
        messages = [
            {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        ]
        made.append({"messages": messages})
    return made


def model_make(folder: Path) -> None:
    """Write a Qwen2 of 0.1 million random weights, with a tokenizer trained on the sums."""
    # loaded here, because looking whether there is anything to do must not cost ten seconds
    torch = importlib.import_module("torch")
    transformers = importlib.import_module("transformers")
    padding, start, end = SPECIAL

    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(),
        eos_token=end,
        pad_token=padding,
        additional_special_tokens=[start, end],
        chat_template=CHAT_TEMPLATE,
        model_max_length=512,
    )
    token_ids = {
        "bos_token_id": tokenizer.convert_tokens_to_ids(padding),
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    torch.manual_seed(SEED)
    config = transformers.Qwen2Config(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        **token_ids,
    )
    model = transformers.Qwen2ForCausalLM(config)
    model.generation_config = transformers.GenerationConfig(max_new_tokens=32, **token_ids)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _tokenizer() -> Any:
    tokenizers = importlib.import_module("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=1000,
        special_tokens=list(SPECIAL),
        initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    sums = [
        f"what is {first} plus {second}? the answer is {first + second}."
        for first in range(NUMBERS)
        for second in range(NUMBERS)
    ]
    words = "system user assistant You are a helpful assistant."
    tokenizer.train_from_iterator([*sums, words], trainer)
    return tokenizer


def is_whole(folder: Path) -> bool:
    """All files of the model are there; they appear together, by a rename."""
    return all((folder / name).is_file() for name in MODEL_FILES)


def publish(made: Path, place: Path) -> None:
    """Make readable for every user, who may be the job's own, and put in place."""
    for path in (made, *made.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    if place.is_dir():
        shutil.rmtree(place)
    made.rename(place)


def material_make(folder: Path) -> list[str]:
    """The names of what was made; empty when everything was there."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows())
    made = []
    with contextlib.ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=folder)))
        data = folder / "data.jsonl"
        if not data.is_file() or data.read_text(encoding="utf-8") != text:
            (temporary / "data.jsonl").write_text(text, encoding="utf-8")
            publish(temporary / "data.jsonl", data)
            made.append("data.jsonl")
        if not is_whole(folder / "model"):
            model_make(temporary / "model")
            publish(temporary / "model", folder / "model")
            made.append("model")
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    made = material_make(parser.parse_args().folder)
    sys.stdout.write(f"made: {', '.join(made) or 'nothing, all there'}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
