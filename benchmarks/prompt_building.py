"""How long lm-eval takes to build five-shot prompts: with our tasks, and with the same task as plain YAML.

    python benchmarks/prompt_building.py DATA_DIR [--group cmmlu_5shot] [--subjects N]

The plain form is what a task usually looks like: rows loaded, the templates in ``doc_to_text`` and ``description``.
Both are built by lm-eval itself in one process, subject by subject in turns, and must give the same prompts.
"""

from __future__ import annotations

import argparse
import logging
import os
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("TQDM_DISABLE", "1")

TASKS = Path(__file__).resolve().parent.parent / "tasks"


def plain_form(task: Any) -> Any:
    """The same task over the same rows, with its templates where lm-eval renders them."""
    import datasets
    from lm_eval.api.task import ConfigurableTask

    config = task.config
    protocol = config.metadata["protocol"]
    made_here = ("prompt", "instruction", "shots", "label_tokens", "shot_lengths", "question_length")
    rows = datasets.DatasetDict(
        {
            name: split.remove_columns([column for column in made_here if column in split.column_names])
            for name, split in task.dataset.items()
        }
    )
    arguments = config.dataset_kwargs
    name = arguments.get("name", arguments["subject"].replace("_", " "))
    return ConfigurableTask(
        config={
            "task": f"{config.task}_plain",
            "custom_dataset": lambda **_: rows,
            "output_type": "multiple_choice",
            "test_split": config.test_split,
            "validation_split": config.validation_split,
            "fewshot_split": "dev",
            "fewshot_config": {"sampler": "first_n"},
            "num_fewshot": config.num_fewshot,
            "description": protocol["instruction"].replace("{{ name }}", name),
            "doc_to_text": protocol["question"],
            "doc_to_choice": ["A", "B", "C", "D"],
            "doc_to_target": "{{ answer }}",
            "target_delimiter": config.target_delimiter,
            "fewshot_delimiter": config.fewshot_delimiter,
            "metric_list": config.metric_list,
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data_dir")
    parser.add_argument("--group", default="cmmlu_5shot", help="one without shuffled shots")
    parser.add_argument("--subjects", type=int, help="only the first N subjects")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    from lm_eval.tasks import TaskManager
    from tqdm import tqdm

    manager = TaskManager(include_path=str(TASKS), include_defaults=False, metadata={"data_dir": arguments.data_dir})
    started = time.perf_counter()
    tasks = list(manager.load([arguments.group])["tasks"].values())[: arguments.subjects]
    seconds = {"ours, reading and rendering": time.perf_counter() - started, "ours, building": 0.0, "plain YAML": 0.0}
    prompts = 0
    for task in tqdm(tasks, desc="subjects", disable=False):
        plain = plain_form(task)
        for form, one in (("ours, building", task), ("plain YAML", plain)):
            started = time.perf_counter()
            one.build_all_requests()
            seconds[form] += time.perf_counter() - started
        assert [request.args for request in task.instances] == [request.args for request in plain.instances]
        prompts += len(task.instances) // 4
    print(f"{arguments.group}: {prompts} prompts, the same in both forms")
    for form, taken in seconds.items():
        print(f"{form:30} {taken:7.2f} s")
    ours = seconds["ours, reading and rendering"] + seconds["ours, building"]
    print(f"{'ours, in all':30} {ours:7.2f} s, {seconds['plain YAML'] / ours:.1f} times as fast")


if __name__ == "__main__":
    main()
