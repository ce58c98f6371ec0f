"""Hashes of everything that the tasks ask over the published questions, so that no change of theirs goes unseen.

    python tests/tasks/golden_prompts.py DATA_DIR    # write golden_prompts.json anew

Write it anew only where a task is meant to ask something else, and raise the tasks' version with it.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TASKS = Path(__file__).resolve().parent.parent.parent / "tasks"
FILE = Path(__file__).with_suffix(".json")
FIELDS = ("label_tokens", "shot_lengths", "question_length", "description_length", "max_prompt_tokens", "drop_shots")
PUBLISHED = "published"
FIVE = tuple(f"{benchmark}_5shot" for benchmark in ("ceval", "mmlu", "cmmlu", "gaokao", "agieval"))
DRAWN: dict[str, tuple[tuple[str, ...], dict[str, int]]] = {
    "shots_seed=0": (("ceval_5shot_hard", "gaokao_5shot"), {"shots_seed": 0}),
    "shots_seed=1, split_seed=1": (FIVE, {"shots_seed": 1, "split_seed": 1}),
    "split_seed=3": (("gaokao_5shot", "agieval_5shot"), {"split_seed": 3}),
}
"""What is asked of groups under a seed: their names and the metadata."""


def task_hashes(data_dir: Path, *groups: str, **metadata: Any) -> dict[str, str]:
    """Return a hash for each task: of every prompt, its continuations, its answer and what tells how to score it."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(
        include_path=str(TASKS), include_defaults=False, metadata={"data_dir": str(data_dir), **metadata}
    )
    tasks: dict[str, Any] = manager.load(list(groups))["tasks"]
    return {name: _digest(_asked(task)) for name, task in tasks.items()}


def published(data_dir: Path) -> dict[str, str]:
    """Return the hash of every task as published."""
    return task_hashes(data_dir, "baichuan_5shot", "ceval_5shot_val")


def drawn(data_dir: Path, seeds: str) -> dict[str, str]:
    """Return one hash for each benchmark with shots drawn from seeds."""
    groups, metadata = DRAWN[seeds]
    by_task = task_hashes(data_dir, *groups, **metadata)
    by_group: dict[str, list[str]] = {}
    for name in sorted(by_task):
        by_group.setdefault(f"{name.partition('_')[0]}_5shot", []).append(by_task[name])
    return {group: _digest(found) for group, found in by_group.items()}


def _asked(task: Any) -> Iterator[object]:
    delimiter = task.config.target_delimiter
    for doc in task.eval_docs:
        context = task.fewshot_context(doc, num_fewshot=task.config.num_fewshot)
        continuations = [delimiter + choice for choice in task.doc_to_choice(doc)]
        yield [context, continuations, task.doc_to_target(doc), *(doc[field] for field in FIELDS)]


def _digest(parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(json.dumps(part, ensure_ascii=False).encode() + b"\n")
    return digest.hexdigest()[:16]


def main() -> None:
    """Write the file."""
    logging.disable(logging.WARNING)
    data_dir = Path(sys.argv[1])
    golden = {PUBLISHED: published(data_dir), **{seeds: drawn(data_dir, seeds) for seeds in DRAWN}}
    FILE.write_text(json.dumps(golden, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
