"""What a run tells of a suite beyond its average: its subjects, which labels it prefers, how sure it is when right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..comparison.intervals import Interval, wilson
from ..published import PublishedTables
from ..results import Answer, Run, Suite, suite_title, suites_of

BINS = 10


@dataclass(frozen=True)
class Subject:
    """One subject of one run."""

    subject: str
    name: str
    """Its name in the prompts, which is Chinese for the Chinese sets; empty where the task has none."""
    category: str
    ours: Interval
    correct: int
    asked: int


@dataclass(frozen=True)
class Confusion:
    """How often each label was predicted where each was right."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]
    """A row for each right label, a column for each predicted one."""

    @property
    def total(self) -> int:
        """All questions."""
        return sum(map(sum, self.counts))

    @property
    def predicted(self) -> list[int]:
        """How often each label was predicted."""
        return [sum(row[column] for row in self.counts) for column in range(len(self.labels))]

    @property
    def right(self) -> list[int]:
        """How often each label was right."""
        return [sum(row) for row in self.counts]


@dataclass(frozen=True)
class Calibration:
    """Whether answers given with some confidence are right as often as that."""

    confidence: tuple[float, ...]
    """The mean confidence of each bin that holds answers, 0 to 1."""
    accuracy: tuple[float, ...]
    """The share of right answers in it, 0 to 1."""
    asked: tuple[int, ...]
    expected_error: float
    """Expected calibration error: the mean distance of the two, weighted by answers, 0 to 1."""


@dataclass(frozen=True)
class Behaviour:
    """How a run answered the questions of one suite, told from logged samples."""

    confusion: Confusion
    calibration: Calibration
    right_margins: tuple[float, ...]
    """How far the first label was ahead of the second where it was right, in nats."""
    wrong_margins: tuple[float, ...]


@dataclass(frozen=True)
class SuiteOfRun:
    """One suite of one run, for tables and charts alike."""

    run: str
    title: str
    subjects: tuple[Subject, ...]
    """The best first."""
    behaviour: Behaviour | None
    """None where no samples were logged."""


def suites_of_runs(
    runs: Sequence[Run],
    logged: Sequence[Mapping[str, Sequence[Answer]]],
    published: PublishedTables,
    confidence: float,
) -> list[SuiteOfRun]:
    """Return every suite of every run.

    Args:
        runs: The runs.
        logged: Each run's samples by task.
        published: For the order and titles of suites.
        confidence: Coverage of the subjects' intervals, 0 to 1.
    """
    found = []
    for run, by_task in zip(runs, logged, strict=True):
        for suite in suites_of(run, published):
            answers = [answer for task in suite.tasks for answer in by_task.get(task, ())]
            found.append(
                SuiteOfRun(
                    run=run.name,
                    title=suite_title(suite, published),
                    subjects=tuple(subjects(run, suite, confidence)),
                    behaviour=behaviour(answers) if answers else None,
                )
            )
    return found


def behaviour(answers: Sequence[Answer]) -> Behaviour:
    """Return what some answers tell."""
    return Behaviour(
        confusion=confusion(answers),
        calibration=calibration(answers),
        right_margins=tuple(answer.margin for answer in answers if answer.correct),
        wrong_margins=tuple(answer.margin for answer in answers if not answer.correct),
    )


def subjects(run: Run, suite: Suite, confidence: float) -> list[Subject]:
    """Return a suite's subjects in one run, the best first."""
    found = []
    for task in suite.tasks:
        if task in run.tasks:
            result = run.tasks[task]
            found.append(
                Subject(
                    subject=suite.subject(task),
                    name=str((result.config.get("dataset_kwargs") or {}).get("name") or ""),
                    category=suite.category(task),
                    ours=wilson(result.correct, result.asked, confidence),
                    correct=result.correct,
                    asked=result.asked,
                )
            )
    return sorted(found, key=lambda subject: (-subject.ours.value, subject.subject))


def confusion(answers: Sequence[Answer]) -> Confusion:
    """Count predicted against right labels."""
    labels = tuple(sorted({label for answer in answers for label in answer.labels}))
    place = {label: number for number, label in enumerate(labels)}
    counts = [[0] * len(labels) for _ in labels]
    for answer in answers:
        counts[place[answer.labels[answer.target]]][place[answer.labels[answer.predicted]]] += 1
    return Confusion(labels, tuple(map(tuple, counts)))


def calibration(answers: Sequence[Answer]) -> Calibration:
    """Bin answers by confidence, the likeliest label's share of all labels' probability."""
    import numpy as np
    from scipy.stats import binned_statistic

    confidence = np.array([answer.confidence for answer in answers])
    right = np.array([answer.correct for answer in answers], dtype=float)
    edges = np.linspace(0, 1, BINS + 1)
    asked = binned_statistic(confidence, right, "count", bins=edges).statistic
    filled = asked > 0
    mean = binned_statistic(confidence, confidence, "mean", bins=edges).statistic[filled]
    accuracy = binned_statistic(confidence, right, "mean", bins=edges).statistic[filled]
    weights = asked[filled] / asked.sum()
    return Calibration(
        tuple(map(float, mean)),
        tuple(map(float, accuracy)),
        tuple(map(int, asked[filled])),
        float((weights * abs(mean - accuracy)).sum()),
    )
