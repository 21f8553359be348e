"""Plausible files of a training: SWIFT's logging.jsonl and its console. Pure, the same at every call."""

import json
import math
import random
from collections.abc import Iterator
from typing import Any

SECONDS_PER_STEP = 4.2


def _rate(step: int, most: int) -> float:
    """Warm-up over 5 %, then a cosine."""
    warm = max(1, most // 20)
    if step < warm:
        return 1e-4 * step / warm
    return 0.5e-4 * (1 + math.cos(math.pi * (step - warm) / (most - warm)))


def metric_rows(
    *, until: int, most: int, every: int = 5, seed: int = 7
) -> Iterator[dict[str, Any]]:
    """What SWIFT logs every few steps; a validation every 100."""
    dice = random.Random(seed)  # noqa: S311 - noise of a curve
    for step in range(every, until + 1, every):
        low = 0.62 + 1.9 * math.exp(-step / (most / 9))
        left = round((most - step) * SECONDS_PER_STEP)
        shared = {
            "epoch": round(3 * step / most, 4),
            "global_step/max_steps": f"{step}/{most}",
            "percentage": f"{100 * step / most:.2f}%",
            "elapsed_time": f"{round(step * SECONDS_PER_STEP)}s",
            "remaining_time": f"{left // 3600}h {left % 3600 // 60}m {left % 60}s",
        }
        yield {
            "loss": round(low * dice.gauss(1, 0.07), 6),
            "grad_norm": round(abs(dice.gauss(0.9, 0.25)) + 2 * math.exp(-step / 60), 6),
            "learning_rate": _rate(step, most),
            "token_acc": round(0.9 - 0.28 * low / 2.5 + dice.gauss(0, 0.01), 6),
            "memory(GiB)": 46.31,
            "train_speed(s/it)": round(dice.gauss(SECONDS_PER_STEP, 0.02), 6),
            **shared,
        }
        if step % 100 == 0:
            yield {
                "eval_loss": round(low * 1.06 + 0.03 * step / most, 6),
                "eval_token_acc": round(0.885 - 0.28 * low / 2.5, 6),
                **shared,
            }


def as_lines(rows: Iterator[dict[str, Any]]) -> bytes:
    """As JSON lines."""
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def console(*, until: int, most: int, ending: str = "") -> bytes:
    """A console.log with a progress bar of tqdm, long lines, and a warning."""
    lines = [
        "run sh: `python -m swift.cli.sft --model Qwen/Qwen2.5-7B-Instruct --tuner_type lora`",
        "[INFO:swift] Successfully registered `/opt/swift/swift/llm/dataset/data/dataset_info.json`.",
        "[INFO:swift] rank: 0, local_rank: 0, world_size: 1, local_world_size: 1",
        "[INFO:swift] Loading the model using model_dir: /models/Qwen2.5-7B-Instruct",
        "Loading checkpoint shards: 100%|##########| 4/4 [00:06<00:00,  1.61s/it]",
        "[INFO:swift] default_system: 'You are Qwen, created by Alibaba Cloud. You are a helpful assistant.'",
        "[INFO:swift] The TrainArguments will be saved in: output/args.json",
        "[INFO:swift] lora_config: LoraConfig(task_type='CAUSAL_LM', peft_type='LORA', r=16, lora_alpha=32, "
        "target_modules=['q_proj', 'k_proj', 'v_proj', 'o_proj', 'gate_proj', 'up_proj', 'down_proj'], "
        "lora_dropout=0.05, bias='none', use_rslora=False, init_lora_weights=True)",
        "[INFO:swift] [INPUT] <|im_start|>system\\n你是一名售后客服，回答要简短、准确。<|im_end|>\\n"
        "<|im_start|>user\\n我的订单已经三天没有发货了，可以帮我催一下吗？<|im_end|>",
        "[WARNING:swift] 12 rows are longer than max_length (2048) and are truncated.",
        "Train: 0%|          | 0/3000 [00:00<?, ?it/s]",
    ]
    lines += map(str, metric_rows(until=until, most=most))
    if ending:
        lines.append(ending)
    return ("\n".join(lines) + "\n").encode()
