"""Small tasks of every shape that lm-eval asks by log-likelihood, their questions made here."""

from __future__ import annotations

import csv
import random
from pathlib import Path
from typing import Any

from datasets import Dataset
from lm_eval.tasks import TaskManager

TASKS = Path(__file__).resolve().parents[2] / "tasks"
WORDS = (
    "what",
    "is",
    "the",
    "law",
    "of",
    "one",
    "two",
    "three",
    "以下",
    "中国",
    "法学",
    "考试",
    "答案",
    "question",
    "about",
)


def _text(chance: random.Random, words: int) -> str:
    return " ".join(chance.choice(WORDS) for _ in range(words))


def write_exams(folder: Path) -> Path:
    """A subject of MMLU and one of CMMLU in the official layout."""
    chance = random.Random(3)  # noqa: S311
    for benchmark, split, name in (
        ("mmlu", "dev", "anatomy_dev.csv"),
        ("mmlu", "test", "anatomy_test.csv"),
        ("cmmlu", "dev", "anatomy.csv"),
        ("cmmlu", "test", "anatomy.csv"),
    ):
        path = folder / benchmark / split / name
        path.parent.mkdir(parents=True)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            if benchmark == "cmmlu":
                writer.writerow(["", "Question", *"ABCD", "Answer"])
            for i in range(5):
                row = [_text(chance, 6), *(_text(chance, 2) for _ in "ABCD"), chance.choice("ABCD")]
                writer.writerow([str(i), *row] if benchmark == "cmmlu" else row)
    return folder


def exam_manager(data: Path) -> TaskManager:
    """Finds our tasks, and reads `data` for them."""
    metadata = {"data_dir": str(data), "own_data": True}
    return TaskManager(include_path=str(TASKS), include_defaults=False, metadata=metadata)


def _choices(**_: Any) -> dict[str, Dataset]:
    chance = random.Random(4)  # noqa: S311
    rows = [
        {"query": _text(chance, 8), "choices": [_text(chance, 2 + i) for i in range(4)], "gold": chance.randrange(4)}
        for _ in range(16)
    ]
    return {"train": Dataset.from_list(rows[:12]), "test": Dataset.from_list(rows[12:])}


def _texts(**_: Any) -> dict[str, Dataset]:
    chance = random.Random(6)  # noqa: S311
    return {"test": Dataset.from_list([{"text": _text(chance, words)} for words in (3, 40, 150)])}


_CHOICE = {
    "custom_dataset": _choices,
    "training_split": "train",
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_choice": "choices",
    "doc_to_target": "gold",
    "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}],
}

# The shots of the first two are drawn anew for each document, as ARC and HellaSwag have it in lm-eval.
OTHERS: list[dict[str, Any]] = [
    {**_CHOICE, "task": "arc_shaped", "num_fewshot": 3, "doc_to_text": "Question: {{query}}\nAnswer:"},
    {**_CHOICE, "task": "hellaswag_shaped", "num_fewshot": 2, "doc_to_text": "{{query}}"},
    {
        **_CHOICE,
        "task": "first_n_shots",
        "num_fewshot": 3,
        "doc_to_text": "Question: {{query}}\nAnswer:",
        "fewshot_config": {"sampler": "first_n"},
    },
    {
        "task": "several_tokens",
        "custom_dataset": _choices,
        "test_split": "test",
        "output_type": "loglikelihood",
        "doc_to_text": "{{query}}",
        "doc_to_target": "{{' ' + choices[3]}}",
        "metric_list": [{"metric": "perplexity"}, {"metric": "acc"}],
    },
    {
        "task": "rolling",
        "custom_dataset": _texts,
        "test_split": "test",
        "output_type": "loglikelihood_rolling",
        "doc_to_text": "",
        "doc_to_target": "text",
        "metric_list": [{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    },
]
NAMES = ["mmlu_5shot_anatomy", "cmmlu_5shot_anatomy", *(task["task"] for task in OTHERS)]
