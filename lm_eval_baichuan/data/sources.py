"""Which files a data folder holds, told by the tasks themselves.

Nothing is stated twice: where a file lies and at which revision of its home, how it is read and how many rows it has
are the ``data_files``, ``read_rows`` and ``count_rows`` of the task folder's own ``utils.py``; its subjects and their
published row counts are in the folder's YAML.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from .. import tasks
from .known import check_known, rows_hash

TASKS = Path(tasks.__file__).parent
ALL_SETS = "baichuan_5shot"
"""The group of all benchmarks."""


@dataclass(frozen=True)
class SetFile:
    """One file of a set."""

    benchmark: str
    source: Any
    """The task folder's own `DataFile`."""
    rows: Mapping[str, int]
    """The published numbers of rows of its subject."""

    @property
    def path(self) -> str:
        """Where it lies in a data folder, with forward slashes."""
        return str(self.source.path)


@functools.cache
def benchmarks() -> tuple[str, ...]:
    """Return the names of the sets, in the order of the published row."""
    members = yaml.safe_load((TASKS / ALL_SETS / f"_{ALL_SETS}.yaml").read_text("utf-8"))["task"]
    return tuple(member.removesuffix("_5shot") for member in members if (TASKS / member).is_dir())


def task_module(benchmark: str) -> Any:
    """Return the task folder's own module, which reads the set."""
    return importlib.import_module(f"{tasks.__name__}.{benchmark}_5shot.utils")


@functools.cache
def set_files(benchmark: str) -> Sequence[SetFile]:
    """Return the files of a set that its tasks read, in the order of its subjects."""
    subjects: dict[str, dict[str, Any]] = {}
    for path in sorted((TASKS / f"{benchmark}_5shot").glob(f"{benchmark}_5shot_*.yaml")):
        facts = yaml.safe_load(path.read_text("utf-8")).get("dataset_kwargs", {})
        if "subject" not in facts:
            continue  # a task that asks all subjects at once
        known = subjects.setdefault(facts["subject"], {**facts, "rows": {}})
        known["rows"] |= facts["rows"]  # tasks of several splits state a part each
    module = task_module(benchmark)
    return [
        SetFile(benchmark, source, facts["rows"])
        for facts in subjects.values()
        for source in module.data_files(**facts).values()
    ]


def home(benchmark: str) -> tuple[str, str]:
    """Return (repository, pinned revision) of a set's public home."""
    source = set_files(benchmark)[0].source
    return source.repository, source.revision


@dataclass(frozen=True)
class Content:
    """What a file was found to hold."""

    rows: Mapping[str, int]
    """Rows by kind: a split, or ``all`` and those of them that are asked."""
    hash: str
    """Of the rows, whatever the file's form (see `known.rows_hash`)."""


def read_file(file: SetFile, folder: Path) -> Content:
    """Read a file as its tasks read it, with their checks, and compare its rows with the published ones if known.

    Args:
        file: The file.
        folder: The data folder that it lies in.

    Raises:
        FileNotFoundError: The file is not there.
        ValueError: The file is damaged or not the published one; the message says where, what was found and what was
            expected.
    """
    module = task_module(file.benchmark)
    rows = module.read_rows(file.source, str(folder))
    found: dict[str, int] = module.count_rows(file.source, rows)
    module.check_row_counts(rows, found, file.rows, file.path, own_data=False)
    content = Content(found, rows_hash(rows))
    check_known(file.benchmark, file.path, content.hash)
    return content
