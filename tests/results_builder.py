"""Writes results files in the form of lm-eval 0.4.13, for tests of what reads them.

That the form is right is shown by tests that read files which lm-eval itself wrote.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LABELS = ("A", "B", "C", "D")
DATE = "2026-11-23T10-00-00.000001"
BAICHUAN = {"label_tokens": {}, "shortened_prompts": {}, "truncated_prompts": {}}
"""What the adapter counts and `compare` reads."""
VERIFIED = {"requests": 12, "largest_difference": 3.1e-6, "bound": 1e-3}

Outcome = tuple[int, int]
"""Questions answered right, and asked."""


def write_results(
    folder: Path,
    tasks: Mapping[str, Outcome],
    *,
    pretrained: str | None = "baichuan-inc/Baichuan-7B",
    model: str = "baichuan",
    label_tokens: str = "isolated",
    date: str = DATE,
    shots: int = 5,
    split: str = "test",
    available: int | None = None,
    limit: float | None = None,
    metadata: Mapping[str, Any] | None = None,
    version: float = 1.1,
    facts: Mapping[str, Any] | None = None,
    arguments: Mapping[str, Any] | None = None,
    extra: Mapping[str, Any] | None = None,
) -> Path:
    """Write the results of a run and return the file."""
    configs, results, counts = {}, {}, {}
    for task, (correct, asked) in tasks.items():
        configs[task] = {
            "task": task,
            "test_split" if split == "test" or version > 1.0 else "validation_split": split,
            "num_fewshot": shots,
            "dataset_kwargs": {"name": "法学"},
            "metadata": {
                "version": version,
                "protocol": {"split_drawn": True} if task.startswith(("gaokao", "agieval")) else {},
                **(metadata or {}),
            },
        }
        results[task] = {"name": task, "alias": task, "sample_len": asked, "acc,none": correct / asked}
        counts[task] = {"original": available or asked, "effective": asked}
    config: dict[str, Any] = {
        "model": model,
        "model_args": {**({"pretrained": pretrained} if pretrained else {}), **(arguments or {})},
        "model_dtype": "torch.bfloat16",
        "limit": limit,
    }
    if model == "baichuan":
        config["baichuan"] = {
            **BAICHUAN,
            "label_tokens": {label_tokens: list(tasks)},
            "max_length": 4096,
            "verified": VERIFIED,
            "ties": {task: {"questions": 0, "of": asked} for task, (_, asked) in tasks.items()},
            **(facts or {}),
        }
    data = {
        "results": results,
        "configs": configs,
        "n-shot": dict.fromkeys(tasks, shots),
        "n-samples": counts,
        "config": config,
        "lm_eval_version": "0.4.13",
        **(extra or {}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"results_{date}.json"
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


def write_samples(
    folder: Path,
    tasks: Mapping[str, Outcome],
    *,
    date: str = DATE,
    seed: int = 0,
    say: str | None = None,
    texts: Sequence[str] | None = None,
) -> None:
    """Log samples that fit `write_results`.

    Args:
        folder: Where the results are.
        tasks: The same as for the results.
        date: The same as for the results.
        seed: For the log-likelihoods, and which questions are answered right.
        say: A label to predict always; the right labels then follow from the counts.
        texts: The questions' texts; default: made up.
    """
    for task, (correct, asked) in tasks.items():
        draw = random.Random(f"{seed} {task}")  # noqa: S311  # test data
        lines = []
        answered_right = set(range(asked)) if say else set(draw.sample(range(asked), correct))
        for number in range(asked):
            if say:
                target = LABELS.index(say) if number < correct else (LABELS.index(say) + 1) % 4
                predicted = LABELS.index(say)
            else:
                target = number % 4
                predicted = target if number in answered_right else (target + draw.choice((1, 2, 3))) % 4
            logprobs = [-3.0 + draw.random() for _ in LABELS]
            logprobs[predicted] = -0.5 - draw.random()
            question = texts[number] if texts else f"第{number}题：{task} 是什么？\nA. 一\nB. 二\nC. 三\nD. 四\n答案："
            lines.append(sample(number, question, target, logprobs))
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"samples_{task}_{date}.jsonl").write_text(text, encoding="utf-8")


def sample(number: int, question: str, target: int, logprobs: Sequence[float]) -> dict[str, Any]:
    """Return one logged sample, as lm-eval writes it."""
    responses = [[str(logprob), "False"] for logprob in logprobs]
    return {
        "doc_id": number,
        "doc": {"id": str(number), "prompt": question, "answer": LABELS[target]},
        "target": LABELS[target],
        "arguments": {
            f"gen_args_{n}": {"arg_0": f"指示\n\n{question}", "arg_1": label} for n, label in enumerate(LABELS)
        },
        "resps": [[response] for response in responses],
        "filtered_resps": responses,
        "filter": "none",
        "metrics": ["acc"],
        "acc": float(max(range(4), key=logprobs.__getitem__) == target),
    }


def softmax_of_best(logprobs: Sequence[float]) -> float:
    """Return the likeliest label's share of the probability, computed the long way."""
    weights = [math.exp(logprob) for logprob in logprobs]
    return max(weights) / sum(weights)
