"""Collects results files into runs: one model's latest result of each task."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..model_adapters.errors import ResultsError
from ..printable import printable
from .draws import Draws
from .files import DATE, CutOff, ResultsFile, TaskResult, read_results_file, task_results
from .measures import Measure, read_measures
from .suites import Suite, find_suite, known_suites

logger = logging.getLogger(__name__)


@dataclass
class Run:
    """One model's results, from one file or several."""

    name: str
    """What to call it in tables, with the seeds it drew by; no two runs have the same."""
    model: str
    path: Path
    """The file or folder it was read from, as named."""
    tasks: dict[str, TaskResult]
    files: list[ResultsFile]
    seeds: Draws = Draws()
    others: dict[tuple[str, str, str], Measure] = field(default_factory=dict)
    """What it measured by tasks that are not this package's."""
    left_out: list[str] = field(default_factory=list)
    """What the files hold that is not compared, and why."""
    cut_off: bool = False
    """Whether a results file of its folder was cut off, whose figures are therefore missing or older ones."""

    def suites(self) -> list[Suite]:
        """The suites it has tasks of, in the order of the task folders."""
        present = {suite.name for task in self.tasks if (suite := find_suite(task))}
        return [suite for suite in known_suites() if suite.name in present]

    def results_of(self, tasks: Iterable[str]) -> list[TaskResult]:
        """The results it has of some tasks."""
        return [self.tasks[task] for task in tasks if task in self.tasks]


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """Read the runs that files and folders hold: each file one run, each folder one for each model, revision and seed.

    A file of a folder that was cut off is left out with a warning, and every run of the folder says so.

    Raises:
        ResultsError: a path holds no results, or a file cannot be read.
    """
    runs: list[Run] = []
    for path in paths:
        files, cut_off = _files_of_folder(path) if path.is_dir() else ([_read(path)], [])
        for run in _collect(path, files):
            run.left_out = [*cut_off, *run.left_out]
            run.cut_off = bool(cut_off)
            runs.append(run)
    _name_apart(runs)
    return runs


def _read(path: Path) -> ResultsFile:
    if path.suffix == ".jsonl":
        raise ResultsError(f"{path}: logged samples, not results. Name the results_….json beside it, or the folder.")
    if not path.exists():
        raise ResultsError(f"{path}: no such file or folder. Name what lm-eval's --output_path wrote.")
    return read_results_file(path)


def _files_of_folder(folder: Path) -> tuple[list[ResultsFile], list[str]]:
    """Read the results files of a folder; also a sentence for each that was cut off."""
    found = sorted(path for path in folder.rglob("*.json") if DATE.search(path.name))
    if not found:
        samples = next(folder.rglob("samples_*.jsonl"), None)
        raise ResultsError(
            f"{folder}: no results file in it (results_….json, written when a run ends)"
            + (f", only logged samples such as {samples.name}: the run was cut off." if samples else ".")
            + " Run lm_eval with --output_path, to its end."
        )
    files, cut_off = [], []
    for path in found:
        try:
            files.append(read_results_file(path))
        except CutOff as error:
            cut_off.append(error)
    if not files:
        raise cut_off[0]
    for cut in cut_off:
        logger.warning(
            "LEFT OUT: %s The rest of the folder is read, older results of the same tasks too.", printable(str(cut))
        )
    return files, list(map(str, cut_off))


def _collect(path: Path, files: list[ResultsFile]) -> list[Run]:
    """Take the latest result of each task: another model, revision or draw by seeds is a run of its own."""
    runs: dict[tuple[str, str, Draws], Run] = {}
    every_reason: dict[str, str] = {}
    for file in sorted(files, key=lambda file: file.date):
        reasons: dict[str, str] = {}
        in_file: dict[Draws, list[TaskResult]] = {}
        for result in task_results(file):
            if isinstance(result, str):
                reasons[result] = result
            else:
                in_file.setdefault(result.seeds, []).append(result)
        measures: list[Measure] = []
        for measure in read_measures(file):
            if isinstance(measure, str):
                reasons[measure] = measure
            else:
                measures.append(measure)
        every_reason |= reasons
        for seeds in in_file or ({Draws(): []} if measures else {}):
            told = ", ".join(filter(None, [f"revision={file.revision}" if file.revision else "", seeds.words]))
            name = _short(file.model) + (f" ({told})" if told else "")
            new = Run(name, file.model, path, tasks={}, files=[], seeds=seeds)
            run = runs.setdefault((file.model, file.revision, seeds), new)
            run.tasks |= {result.task: result for result in in_file.get(seeds, [])}
            run.others |= {measure.key: measure for measure in measures}
            run.files.append(file)
            run.left_out += [reason for reason in reasons.values() if reason not in run.left_out]
    if not runs:
        reasons_found = list(every_reason.values())
        shown = "; ".join(reasons_found[:5])
        shown += f"; and {len(reasons_found) - 5} more" if len(reasons_found) > 5 else ""
        raise ResultsError(
            f"{', '.join(str(file.path) for file in files)}: nothing in it to compare: {shown or 'no tasks at all'}."
        )
    return list(runs.values())


def _short(model: str) -> str:
    """A model's last component: ``Baichuan-7B`` of a hub name or folder."""
    return model.rstrip("/").replace("\\", "/").rpartition("/")[2] or model


def _name_apart(runs: list[Run]) -> None:
    """Add to names that several runs have what tells them apart: the path, else the date, else a number."""
    for telling in (_by_model, _by_path, _by_date, _by_number(runs)):
        groups: dict[str, list[Run]] = {}
        for run in runs:
            groups.setdefault(run.name, []).append(run)
        for name, same in groups.items():
            labels = [telling(run) for run in same]
            if len(same) > 1 and len(set(labels)) > 1:
                for run, label in zip(same, labels, strict=True):
                    run.name = f"{name} ({label})" if label else name


def _by_model(run: Run) -> str:
    return _short(run.model.replace("\\", "/").rstrip("/").rpartition("/")[0])


def _by_path(run: Run) -> str:
    return run.path.name if run.path.is_dir() else run.path.parent.name


def _by_date(run: Run) -> str:
    written = DATE.search(run.files[-1].path.name)
    return written.group(1).partition(".")[0].replace("T", " ") if written else ""


def _by_number(runs: list[Run]) -> Callable[[Run], str]:
    numbers = {id(run): f"#{number}" for number, run in enumerate(runs, start=1)}
    return lambda run: numbers[id(run)]
