"""Writes a folder of tasks in the form that needs no code: plain YAML over a data set of the hub.

    python scripts/dataset_path_form.py cmmlu_5shot FOLDER               # the tasks
    python scripts/dataset_path_form.py cmmlu_5shot FOLDER --data PATH   # and a stand-in for the hub's set

Prompts are those of the folder in tasks/. What a loader is there for is left out: drawn shots, C-Eval's submission
file, data folders, row counts, and what a document says about how it is scored. Gaokao and AGIEval have no such form:
their shots are drawn from the questions. `scripts/upstream.py --form dataset_path` holds these folders to upstream's
bar, over a stand-in that it makes of the official files.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import yaml

TASKS = Path(__file__).resolve().parent.parent / "tasks"


@dataclass(frozen=True)
class Home:
    """A data set of the hub, and what its columns are called."""

    repository: str
    answer: str = "answer"
    columns: dict[str, str] = field(default_factory=dict)
    """The hub's expression for a name in our templates, where it has another."""


HOMES = {
    "ceval_5shot": Home("ceval/ceval-exam"),
    "cmmlu_5shot": Home("haonan-li/cmmlu", answer="Answer", columns={"question": "Question"}),
    "mmlu_5shot": Home("cais/mmlu", columns={letter: f"choices[{n}]" for n, letter in enumerate("ABCD")}),
}


class _Yaml(yaml.SafeLoader):
    """Reads a task's YAML without importing its functions."""


_Yaml.add_constructor("!function", lambda loader, node: f"!function {node.value}")


def read_task(file: Path) -> dict[str, Any]:
    """Read a task's YAML, on top of what it includes."""
    read: dict[str, Any] = yaml.load(file.read_text("utf-8"), Loader=_Yaml)  # noqa: S506  # our own files, a SafeLoader
    base = read.pop("include", None)
    return (read_task(file.parent / base) if base else {}) | read


def has_plain_form(task: dict[str, Any]) -> bool:
    """Whether a task's prompts follow from its rows alone: no drawn shots, no file to write."""
    return "shuffle_shots" not in task["dataset_kwargs"] and "process_results" not in task


def write_tasks(folder: str, into: Path) -> list[str]:
    """Write a folder's tasks and groups without a loader.

    Args:
        folder: One of `HOMES`.
        into: The folder to write; it must not be there yet.

    Returns:
        The names of the tasks.
    """
    home = HOMES[folder]
    into.mkdir(parents=True)
    names = []
    groups = {}
    for file in sorted((TASKS / folder).glob("*.yaml")):
        task = read_task(file)
        if "group" in task:
            groups[file.name] = task
        elif has_plain_form(task):
            base = re.search(r"(?m)^include: (\S+)$", file.read_text("utf-8"))
            if base is None:
                raise ValueError(f"{file} includes no base, as scripts/generate_tasks.py writes it.")
            (into / base[1]).write_text(_base_yaml(task, home), "utf-8")
            (into / file.name).write_text(_subject_yaml(task, base[1]), "utf-8")
            names.append(task["task"])
    known = set(names)
    while left := {name: group for name, group in groups.items() if known.issuperset(group["task"])}:
        for name, group in left.items():
            (into / name).write_text((TASKS / folder / name).read_text("utf-8"), "utf-8")
            known.add(group["group"])
            del groups[name]
    (into / "README.md").write_text(_readme(folder, home), "utf-8")
    return names


def _base_yaml(task: dict[str, Any], home: Home) -> str:
    def renamed(match: re.Match[str]) -> str:
        return "{{" + home.columns.get(match[1], match[1]) + "}}"

    prompt = re.sub(r"{{ (\w+) }}", renamed, task["metadata"]["protocol"]["question"])
    splits = {key: task.get(key) for key in ("validation_split", "test_split")}
    asked = "\n".join(f"{key}: {split}" for key, split in splits.items() if split)
    return f"""\
dataset_path: {home.repository}
{asked}
fewshot_split: dev
fewshot_config:
  sampler: first_n
num_fewshot: {task["num_fewshot"]}
output_type: multiple_choice
doc_to_text: {_quoted(prompt)}
doc_to_choice: ["A", "B", "C", "D"]
doc_to_target: {home.answer}
target_delimiter: {_quoted(task["target_delimiter"])}
fewshot_delimiter: {_quoted(task["fewshot_delimiter"])}
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata:
  version: {task["metadata"]["version"]}
"""


def _subject_yaml(task: dict[str, Any], base: str) -> str:
    subject = task["dataset_kwargs"]["subject"]
    template = jinja2.Template(task["metadata"]["protocol"]["instruction"], keep_trailing_newline=True)  # noqa: S701
    instruction = template.render(subject=subject, name=task["dataset_kwargs"].get("name", subject.replace("_", " ")))
    return f"""\
include: {base}
task: {task["task"]}
task_alias: {task["task_alias"]}
dataset_name: {subject}
description: {_quoted(instruction)}
"""


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


ONLY_OF_THE_LOADER = re.compile(
    r"data_dir|own_data|shots_seed|shuffled|submission|LM_EVAL_BAICHUAN|label_tokens|max_prompt_tokens|a loader"
)


def _readme(folder: str, home: Home) -> str:
    """The folder's README without the paragraphs and list items on what only the loader has, and with its own Data."""
    text = (TASKS / folder / "README.md").read_text("utf-8")
    text = re.sub(r"(?ms)^### Data\n.*?(?=^### )", "", text)
    pieces = re.split(r"(?m)(?=^\n)|(?=^ *\* )", text)
    text = "".join(piece for piece in pieces if not ONLY_OF_THE_LOADER.search(piece))
    data = f"""\
### Data

The hub set `{home.repository}`, with `dataset_path`.

The candidates are the letters as a model encodes them behind the prompt, and prompts are asked whole. Baichuan's
published figures rank other tokens of the same letters, and the scripts for MMLU and CMMLU drop shots from long
prompts: **a score of this task is not the published one.**

"""
    return text.replace("### Checklist\n", f"{data}### Checklist\n", 1)


def write_stand_in(folder: str, data: Path, into: Path) -> None:
    """Write a local data set that `datasets.load_dataset` reads as it reads the hub's, every cell as text.

    Args:
        folder: One of `HOMES`.
        data: The folder with the benchmarks' official files.
        into: Where the stand-in goes: the folder ``<into>/<owner>/<name>``.
    """
    import pyarrow  # type: ignore[import-untyped]
    import pyarrow.parquet  # type: ignore[import-untyped]

    home = HOMES[folder]
    root = into / home.repository
    configurations: dict[str, list[dict[str, str]]] = {}
    for subject, split, columns in _columns(folder, data):
        target = root / subject / f"{split}-00000-of-00001.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(pyarrow.table(columns), target)
        path = str(target.relative_to(root))
        configurations.setdefault(subject, []).append({"split": split, "path": path})
    listed = [{"config_name": name, "data_files": files} for name, files in sorted(configurations.items())]
    (root / "README.md").write_text(f"---\n{yaml.safe_dump({'configs': listed})}---\n", "utf-8")


def _columns(folder: str, data: Path) -> Iterator[tuple[str, str, dict[str, list[Any]]]]:
    benchmark = folder.removesuffix("_5shot")
    for file in sorted((data / benchmark).rglob("*.csv")):
        split = file.parent.name
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = [row for row in csv.reader(opened) if row]
        if benchmark == "mmlu":
            columns: dict[str, list[Any]] = {
                "question": [row[0] for row in rows],
                "choices": [row[1:5] for row in rows],
                "answer": ["ABCD".index(row[5]) for row in rows],
            }
        else:
            columns = {name: list(cells) for name, cells in zip(rows[0], zip(*rows[1:], strict=True), strict=True)}
            if benchmark == "ceval":  # the official test and val files have no such column, the hub's set has
                columns.setdefault("explanation", [""] * len(rows[1:]))
        yield file.stem.removesuffix(f"_{split}"), split, columns


def main() -> None:
    """Write what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", choices=sorted(HOMES))
    parser.add_argument("into", type=Path, help="where the folder of tasks goes, and the stand-in's")
    parser.add_argument("--data", type=Path, help="the official files, to write a stand-in for the hub's set from")
    arguments = parser.parse_args()
    target = arguments.into / arguments.folder
    if target.exists():
        sys.exit(f"{target} exists already. Move it away, or name another folder.")
    names = write_tasks(arguments.folder, target)
    print(f"{target}: {len(names)} tasks")
    if arguments.data:
        write_stand_in(arguments.folder, arguments.data, arguments.into)


if __name__ == "__main__":
    main()
