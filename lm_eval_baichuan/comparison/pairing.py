"""Two runs question by question: which answers changed, and whether that is more than chance."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from ..results import Answer, ResultsError, Run, Suite, find_suite, other_questions
from .intervals import mcnemar

Key = tuple[str, str, str, int]
"""Benchmark, split, subject, number of the question: the same whatever the order of the shots."""


@dataclass(frozen=True)
class Change:
    """A question to which two runs gave different labels."""

    benchmark: str
    subject: str
    doc_id: int
    question: str
    answer: str
    first: str
    second: str

    @property
    def kind(self) -> str:
        """Whether the second run ``gained`` or ``lost`` the question, or gave another ``wrong`` label."""
        return "gained" if self.second == self.answer else "lost" if self.first == self.answer else "wrong"


@dataclass(frozen=True)
class Pairing:
    """Two runs over the questions that both logged."""

    first: str
    second: str
    both_right: int
    only_first: int
    only_second: int
    both_wrong: int
    changes: tuple[Change, ...]
    unpaired: int
    """Questions that only one of the two logged."""

    @property
    def paired(self) -> int:
        """The number of questions that both logged."""
        return self.both_right + self.only_first + self.only_second + self.both_wrong

    @property
    def p_value(self) -> float:
        """McNemar's exact test that the two runs are right equally often."""
        return mcnemar(self.only_first, self.only_second)

    def by_subject(self) -> list[tuple[str, str, int, int, int]]:
        """Return (benchmark, subject, gained, lost, other changes), the most changed first."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        for change in self.changes:
            counts.setdefault((change.benchmark, change.subject), Counter())[change.kind] += 1
        rows = [(*key, count["gained"], count["lost"], count["wrong"]) for key, count in counts.items()]
        return sorted(rows, key=lambda row: (-(row[2] + row[3] + row[4]), row[:2]))

    def by_label(self) -> list[tuple[str, str, int, int, int]]:
        """Return (first label, second label, gained, lost, other changes), the most frequent first."""
        counts: dict[tuple[str, str], Counter[str]] = {}
        for change in self.changes:
            counts.setdefault((change.first, change.second), Counter())[change.kind] += 1
        rows = [(*key, count["gained"], count["lost"], count["wrong"]) for key, count in counts.items()]
        return sorted(rows, key=lambda row: (-(row[2] + row[3] + row[4]), row[:2]))


def pair(
    first: Run, second: Run, first_logged: Mapping[str, list[Answer]], second_logged: Mapping[str, list[Answer]]
) -> Pairing | None:
    """Pair two runs, or return None where they logged no question in common.

    Raises:
        ResultsError: what should be the same question is not.
    """
    for task in first_logged:
        differing = other_questions(first.tasks[task], second.tasks[task]) if task in second_logged else None
        if differing is not None:
            raise ResultsError(
                f"{first.name} and {second.name} were not asked the same: by the fingerprints in their results, the "
                f"{differing} of {task} differ. Run both over the same data."
            )
    ours, theirs = _by_key(first, first_logged), _by_key(second, second_logged)
    shared = [key for key in ours if key in theirs]
    if not shared:
        return None
    outcomes: Counter[tuple[bool, bool]] = Counter()
    changes = []
    for key in shared:
        one, other = ours[key], theirs[key]
        if (one.question, one.target, one.labels) != (other.question, other.target, other.labels):
            raise ResultsError(
                f"{first.name} and {second.name} were not asked the same: question {key[3]} of {key[2]} ({key[0]}) is "
                f"{one.question[:60]!r}… in one and {other.question[:60]!r}… in the other. Run both over the same data."
            )
        outcomes[one.correct, other.correct] += 1
        if one.predicted != other.predicted:
            labels = one.labels
            changes.append(
                Change(
                    benchmark=key[0],
                    subject=key[2],
                    doc_id=key[3],
                    question=one.question,
                    answer=labels[one.target],
                    first=labels[one.predicted],
                    second=labels[other.predicted],
                )
            )
    return Pairing(
        first=first.name,
        second=second.name,
        both_right=outcomes[True, True],
        only_first=outcomes[True, False],
        only_second=outcomes[False, True],
        both_wrong=outcomes[False, False],
        changes=tuple(changes),
        unpaired=len(ours) + len(theirs) - 2 * len(shared),
    )


def _by_key(run: Run, logged: Mapping[str, list[Answer]]) -> dict[Key, Answer]:
    keyed: dict[Key, Answer] = {}
    for task, answers in logged.items():
        suite: Suite | None = find_suite(task)
        if suite is None:
            continue
        drawn = run.tasks[task].draws.split_seed
        split = f"{run.tasks[task].split}" + ("" if drawn is None else f", split_seed={drawn}")
        for answer in answers:
            keyed[suite.benchmark, split, suite.subject(task), answer.doc_id] = answer
    return keyed
