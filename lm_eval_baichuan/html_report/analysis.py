"""What a run tells of a suite beyond its average: its subjects, which labels it prefers, how sure it is when right."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..comparison.intervals import Interval, wilson
from ..published import PublishedTables
from ..results import Answer, Run, Suite, TaskResult, known_suites, suite_title, suites_of

BINS = 10


@dataclass(frozen=True)
class Score:
    """How one run answered one subject."""

    ours: Interval
    correct: int
    asked: int


@dataclass(frozen=True)
class Subject:
    """One subject, in every run."""

    task: str
    subject: str
    name: str
    """Its name in the prompts, which is Chinese for the Chinese sets; empty where the task has none."""
    category: str
    scores: tuple[Score | None, ...]
    """One a run; None where the run was not asked it."""

    @property
    def title(self) -> str:
        """Its names in Chinese and English, as far as it has both."""
        return chinese_and_english(self.subject, self.name)

    @property
    def short_title(self) -> str:
        """Its Chinese name, or where it has none its English one."""
        return self.name if _is_chinese(self.name) else self.subject.replace("_", " ")

    @property
    def mean(self) -> float:
        """The mean accuracy over the runs, in percent."""
        return statistics.fmean(score.ours.value for score in self.scores if score)

    def of_runs(self, runs: Sequence[int]) -> Subject:
        """Return the subject in some of the runs only."""
        return dataclasses.replace(self, scores=tuple(self.scores[number] for number in runs))


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
    """How far the first label was ahead of the second where it was right, in nats (natural logarithms)."""
    wrong_margins: tuple[float, ...]


@dataclass(frozen=True)
class SuiteOfRuns:
    """One suite in every run, for tables and charts alike."""

    name: str
    title: str
    subjects: tuple[Subject, ...]
    """The best first."""
    behaviours: tuple[Behaviour | None, ...]
    """One a run; None where it logged no samples."""


def suites_of_runs(
    runs: Sequence[Run],
    logged: Sequence[Mapping[str, Sequence[Answer]]],
    published: PublishedTables,
    confidence: float,
) -> list[SuiteOfRuns]:
    """Return every suite that the runs have, in the order of the published tables.

    Args:
        runs: The runs.
        logged: Each run's samples by task.
        published: For the order and titles of suites.
        confidence: Coverage of the subjects' intervals, 0 to 1.
    """
    found = {suite.name: suite for run in runs for suite in suites_of(run, published)}
    order = list(published.benchmarks)
    rank = {suite.name: number for number, suite in enumerate(known_suites())}

    def place(suite: Suite) -> tuple[int, int]:
        return (order.index(suite.benchmark) if suite.benchmark in order else len(order), rank[suite.name])

    return [
        SuiteOfRuns(
            name=suite.name,
            title=suite_title(suite, published),
            subjects=tuple(subjects(runs, suite, confidence)),
            behaviours=tuple(_behaviour(by_task, suite) for by_task in logged),
        )
        for suite in sorted(found.values(), key=place)
    ]


def _behaviour(by_task: Mapping[str, Sequence[Answer]], suite: Suite) -> Behaviour | None:
    answers = [answer for task in suite.tasks for answer in by_task.get(task, ())]
    return behaviour(answers) if answers else None


def behaviour(answers: Sequence[Answer]) -> Behaviour:
    """Return what some answers tell."""
    return Behaviour(
        confusion=confusion(answers),
        calibration=calibration(answers),
        right_margins=tuple(answer.margin for answer in answers if answer.correct),
        wrong_margins=tuple(answer.margin for answer in answers if not answer.correct),
    )


def subjects(runs: Sequence[Run], suite: Suite, confidence: float) -> list[Subject]:
    """Return a suite's subjects in some runs, the best first."""
    found = []
    for task in suite.tasks:
        results = [run.tasks.get(task) for run in runs]
        asked = next((result for result in results if result), None)
        if asked:
            found.append(
                Subject(
                    task=task,
                    subject=suite.subject(task),
                    name=subject_name(asked),
                    category=suite.category(task),
                    scores=tuple(_score(result, confidence) if result else None for result in results),
                )
            )
    return sorted(found, key=lambda subject: (-subject.mean, subject.subject))


def subject_name(result: TaskResult) -> str:
    """Return what the prompts of a task call its subject; empty where they have no name for it."""
    return str((result.config.get("dataset_kwargs") or {}).get("name") or "")


def chinese_and_english(subject: str, name: str) -> str:
    """Return the names of a subject: ``法学 law``, or the English one alone where the other is no Chinese."""
    english = subject.replace("_", " ")
    return f"{name} {english}" if _is_chinese(name) else english


def _is_chinese(name: str) -> bool:
    return bool(name) and not name.isascii()


def _score(result: TaskResult, confidence: float) -> Score:
    return Score(wilson(result.correct, result.asked, confidence), result.correct, result.asked)


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
