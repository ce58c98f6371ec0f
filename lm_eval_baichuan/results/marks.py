"""Reads from logged samples which questions of any lm-eval task were answered right."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..model_adapters.errors import ResultsError
from .measures import Measure
from .runs import Run
from .sample_lines import read_lines

Key = tuple[str, int]
"""Task, number of the question."""


@dataclass(frozen=True, slots=True)
class Mark:
    """One question under one metric."""

    question: str
    """What tells it from others: lm-eval's hash of it."""
    score: float
    """1 where it was answered right, 0 where not."""
    options: int
    """Among how many answers the model chose; 0 where it wrote its own."""


Marks = Mapping[Key, Mark]


def read_marks(run: Run) -> dict[tuple[str, str, str], Marks]:
    """Read which questions were answered right, by measure; measures without samples are left out.

    Raises:
        ResultsError: a line is damaged, or the samples do not give the share that the results file states.
    """
    read: dict[tuple[str, str], list[tuple[str, dict[str, object]]]] = {}
    found: dict[tuple[str, str, str], Marks] = {}
    for measure in run.others.values():
        marks: dict[Key, Mark] = {}
        for task in measure.members:
            key = (str(measure.file.path), task)
            if key not in read:
                read[key] = _scored_lines(measure, task)
            for where, sample in read[key]:
                if sample.get("filter", "none") == measure.filter and measure.metric in sample:
                    number, mark = _mark(sample, measure.metric, where)
                    if (task, number) in marks:
                        raise ResultsError(f"{where}: the same question stands in it twice. Log the samples anew.")
                    marks[task, number] = mark
        if marks and len(marks) == measure.asked:
            _check(measure, marks)
            found[measure.key] = marks
    return found


def _scored_lines(measure: Measure, task: str) -> list[tuple[str, dict[str, object]]]:
    path = measure.file.samples_path(task)
    lines: list[tuple[str, dict[str, object]]] = []
    if not path.is_file():
        return lines
    for where, sample in read_lines(path):
        arguments = sample.get("arguments")
        kept = {key: value for key, value in sample.items() if key not in ("doc", "arguments", "resps")}
        asked = arguments if isinstance(arguments, dict | list) else ()
        lines.append((where, kept | {"options": len(asked) if len(asked) > 1 else 0}))
    return lines


def _mark(sample: dict[str, object], metric: str, where: str) -> tuple[int, Mark]:
    from .schema import Marked, Score, check  # pydantic takes its time

    marked = check(Marked, sample, where)
    score = check(Score, sample[metric], where, metric)
    return marked.doc_id, Mark(marked.doc_hash or "", score.root, int(str(sample["options"])))


def _check(measure: Measure, marks: Marks) -> None:
    """Compare with the share that the results state; of a group, lm-eval may have weighed the tasks otherwise."""
    share = sum(mark.score for mark in marks.values()) / len(marks)
    if len(measure.members) == 1 and not abs(share - measure.share) <= 1e-6:  # what is no number isn't near one either
        raise ResultsError(
            f"{measure.file.samples_path(measure.task)}: {measure.metric} {share:.4f}, but {measure.file.path.name} "
            f"says {measure.share:.4f}. The samples are of another run: log them anew, or move the file away."
        )
