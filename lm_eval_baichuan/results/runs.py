"""Collects results files into runs: one model's latest result of each task."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..model_adapters.errors import ResultsError
from .files import DATE, ResultsFile, TaskResult, read_results_file, task_results
from .suites import Suite, find_suite, known_suites

SEEDS = ("shots_seed", "split_seed", "seed")
"""What of ``--metadata`` draws shots or splits: runs that differ in it are runs of their own."""


@dataclass
class Run:
    """One model's results, from one file or several."""

    name: str
    """What to call it in tables; no two runs have the same."""
    model: str
    path: Path
    """The file or folder it was read from, as named."""
    tasks: dict[str, TaskResult]
    files: list[ResultsFile]
    seeds: dict[str, Any] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)
    """What the files hold that is not compared, and why."""

    def suites(self) -> list[Suite]:
        """The suites it has tasks of, in the order of the task folders."""
        present = {suite.name for task in self.tasks if (suite := find_suite(task))}
        return [suite for suite in known_suites() if suite.name in present]

    def results_of(self, tasks: Iterable[str]) -> list[TaskResult]:
        """The results it has of some tasks."""
        return [self.tasks[task] for task in tasks if task in self.tasks]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read the runs that files and folders hold: each file one run, each folder one model's runs, one a seed.

    Raises:
        ResultsError: a path holds no results, or a folder those of several models, or a file cannot be read.
    """
    runs: list[Run] = []
    for path in paths:
        runs += _runs_of_folder(path) if path.is_dir() else [_collect(path, [_read(path)])]
    _name_apart(runs)
    return runs


def _read(path: Path) -> ResultsFile:
    if path.suffix == ".jsonl":
        raise ResultsError(f"{path}: logged samples, not results. Name the results_….json beside it, or the folder.")
    if not path.exists():
        raise ResultsError(f"{path}: no such file or folder. Name what lm-eval's --output_path wrote.")
    return read_results_file(path)


def _runs_of_folder(folder: Path) -> list[Run]:
    found = sorted(path for path in folder.rglob("*.json") if DATE.search(path.name))
    if not found:
        samples = next(folder.rglob("samples_*.jsonl"), None)
        raise ResultsError(
            f"{folder}: no results file in it (results_….json, written when a run ends)"
            + (f", only logged samples such as {samples.name}: the run was cut off." if samples else ".")
            + " Run lm_eval with --output_path, to its end."
        )
    files = [read_results_file(path) for path in found]
    models: dict[str, set[Path]] = {}
    for file in files:
        models.setdefault(file.model, set()).add(file.path.parent)
    if len(models) > 1:
        listed = "; ".join(f"{model} in {', '.join(map(str, sorted(where)))}" for model, where in models.items())
        raise ResultsError(
            f"{folder}: results of {len(models)} models, which do not make one row: {listed}. Name each model's own "
            "folder, or its files."
        )
    by_seed: dict[str, list[ResultsFile]] = {}
    for file in files:
        by_seed.setdefault(str(sorted(_seeds(file).items())), []).append(file)
    return [_collect(folder, same_seed) for same_seed in by_seed.values()]


def _seeds(file: ResultsFile) -> dict[str, Any]:
    """What the shots were drawn from, as far as the user chose it."""
    seeds: dict[str, Any] = {}
    for config in file.data["configs"].values():
        metadata = config.get("metadata") or {}
        seeds |= {key: metadata[key] for key in SEEDS if key in metadata}
    return seeds


def _collect(path: Path, files: list[ResultsFile]) -> Run:
    """Take the latest result of each task."""
    files = sorted(files, key=lambda file: file.date)
    tasks: dict[str, TaskResult] = {}
    left_out: dict[str, str] = {}
    for file in files:
        for result in task_results(file):
            if isinstance(result, str):
                left_out[result] = result
            elif find_suite(result.task) is None:
                reason = "not a task of this package, so its prompts are not the published ones"
                left_out[result.task] = f"{result.task}: {reason}"
            else:
                tasks[result.task] = result
    if not tasks:
        reasons = list(left_out.values())
        shown = "; ".join(reasons[:5]) + (f"; and {len(reasons) - 5} more" if len(reasons) > 5 else "")
        raise ResultsError(
            f"{', '.join(str(file.path) for file in files)}: nothing in it to compare: {shown or 'no tasks at all'}."
        )
    seeds: dict[str, Any] = {}
    for file in files:
        seeds |= _seeds(file)
    model = files[-1].model
    return Run(
        name=_short(model),
        model=model,
        path=path,
        tasks=tasks,
        files=files,
        seeds=seeds,
        left_out=list(left_out.values()),
    )


def _short(model: str) -> str:
    """A model's last component: ``Baichuan-7B`` of a hub name or folder."""
    return model.rstrip("/").replace("\\", "/").rpartition("/")[2] or model


def _name_apart(runs: list[Run]) -> None:
    """Add to names that several runs have what tells them apart: seeds, else the path, else the date, else a number."""
    for telling in (_by_seed, _by_path, _by_date, _by_number(runs)):
        groups: dict[str, list[Run]] = {}
        for run in runs:
            groups.setdefault(run.name, []).append(run)
        for name, same in groups.items():
            labels = [telling(run) for run in same]
            if len(same) > 1 and len(set(labels)) > 1:
                for run, label in zip(same, labels, strict=True):
                    run.name = f"{name} ({label})" if label else name


def _by_seed(run: Run) -> str:
    return ", ".join(f"{key}={value}" for key, value in sorted(run.seeds.items()))


def _by_path(run: Run) -> str:
    return run.path.name if run.path.is_dir() else run.path.parent.name


def _by_date(run: Run) -> str:
    written = DATE.search(run.files[-1].path.name)
    return written.group(1).partition(".")[0].replace("T", " ") if written else ""


def _by_number(runs: list[Run]) -> Callable[[Run], str]:
    numbers = {id(run): f"#{number}" for number, run in enumerate(runs, start=1)}
    return lambda run: numbers[id(run)]
