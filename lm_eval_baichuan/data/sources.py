"""Which files a data folder holds, and how each is read.

Nothing is stated twice: homes, revisions and readers are those of the tasks' own modules, subjects and published row
counts those of the tasks' YAML files.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

LAYOUTS = {
    "ceval": "ceval/{split}/{subject}_{split}.csv",
    "mmlu": "mmlu/{split}/{subject}_{split}.csv",
    "cmmlu": "cmmlu/{split}/{subject}.csv",
    "gaokao": "gaokao-bench/Data/Objective_Questions/{file}",
    "agieval": "agieval/data/v1/{file}",
}
"""Where each set's files lie in the data folder."""

# The JSON sets' `load` selects, counts and splits; it also renders prompts, for which any templates do here.
ANY_PROTOCOL = {
    "question": "{{ question }}",
    "instruction": "",
    "answer_delimiter": "",
    "shot_delimiter": "",
    "label_tokens": "",
    "max_prompt_tokens": 0,
    "drop_shots": "",
}


@dataclass(frozen=True)
class DataFile:
    """One file of the data folder."""

    benchmark: str
    path: str
    """Relative to the data folder, with forward slashes."""
    subject: str
    split: str
    """``dev``, ``val`` or ``test``; empty where one file holds a whole subject."""
    facts: Mapping[str, Any]
    """The arguments of the task's ``load``: subject, name, file, rows."""

    @property
    def folder(self) -> str:
        """The set's folder within the data folder."""
        return self.path.partition("/")[0]


def task_module(benchmark: str) -> Any:
    """Return the tasks' own module that reads a set."""
    return importlib.import_module(f"...tasks.{benchmark}_5shot.utils", __name__)


def home(benchmark: str) -> tuple[str, str]:
    """Return (repository, pinned revision or commit) of a set's public home."""
    module = task_module(benchmark)
    if hasattr(module, "HUB_REPOSITORY"):
        return module.HUB_REPOSITORY, module.HUB_REVISION
    return module.REPOSITORY, module.COMMIT


@functools.cache
def data_files(benchmark: str) -> Sequence[DataFile]:
    """Return the files of a set that its tasks read."""
    subjects: dict[str, dict[str, Any]] = {}
    for path in sorted(Path(task_module(benchmark).__file__).parent.glob(f"{benchmark}_5shot_*.yaml")):
        facts = yaml.safe_load(path.read_text("utf-8")).get("dataset_kwargs", {})
        if "subject" not in facts:
            continue  # C-Eval's submission task reads all subjects
        known = subjects.setdefault(facts["subject"], {**facts, "rows": {}})
        known["rows"] |= facts["rows"]  # C-Eval's test and val tasks state a part each
    files = []
    for subject, facts in subjects.items():
        for split in facts["rows"] if "{split}" in LAYOUTS[benchmark] else [""]:
            place = LAYOUTS[benchmark].format(subject=subject, split=split, file=facts.get("file"))
            files.append(DataFile(benchmark, place, subject, split, facts))
    return files


def count_rows(file: DataFile, folder: Path) -> dict[str, int]:
    """Read a file as its tasks read it, with their checks, and count its rows.

    Args:
        file: The file.
        folder: The data folder that it lies in.

    Returns:
        Rows by split, or for a set without splits by kind: ``all`` and ``single`` (with one answer A-D).

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: The file is damaged; the message says where, what was found and what was expected.
    """
    module = task_module(file.benchmark)
    if file.split:
        rows = module.read_split(file.subject, file.split, str(folder))
        module.check_row_count(rows, file.facts["rows"][file.split], file.path, own_data=False)
        module.check_questions(rows, ("question", *module.LETTERS), own_data=False)
        return {file.split: len(rows)}
    read = module.read_examples if file.benchmark == "gaokao" else module.read_lines
    everything = read(file.facts["file"], str(folder))
    loaded = module.load(**{**file.facts, "shuffle_shots": None}, protocol=ANY_PROTOCOL, data_dir=str(folder))
    return {"all": len(everything), "single": sum(len(split) for split in loaded.values())}
