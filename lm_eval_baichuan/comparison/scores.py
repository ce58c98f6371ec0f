"""The figures of a run, one object each: of a suite, a category, or another task of lm-eval's, with what it is not."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ..languages import joined, say
from ..results import AVERAGE, Answer, Mark, Marks, Measure, Run, Suite, read_certificate
from .chance import against_chance, chance_of
from .condition import Condition, blocks, chosen_by, note, partly_asked
from .intervals import Interval, wilson
from .titles import part_title
from .verdicts import CHANCE, NO_MEASUREMENT, Line

NO_INTERVAL = "not recorded"


@dataclass(frozen=True)
class Score:
    """One figure of one run."""

    run: str
    key: tuple[str, ...]
    """What it is of, which is the same for every run: suite and part, or task, metric and filter."""
    title: str
    below: bool
    """Whether it is a category of what stands above it."""
    ours: Interval
    asked: int | None
    available: int | None
    """Questions before ``--limit`` or ``--samples`` took some; None where not recorded."""
    chance: float | None
    """What answering at random scores, in percent; None where that is not known."""
    caveats: tuple[Condition, ...]
    """What it is not."""
    facts: Mapping[str, str]
    """What runs side by side should have alike, by name."""
    marks: Marks | None
    """Which questions were answered right, as far as logged; None for categories too."""

    @property
    def verdict(self) -> str:
        """How it stands to chance; empty where that cannot be said."""
        if any(caveat.short.startswith(NO_MEASUREMENT) for caveat in self.caveats):
            return NO_MEASUREMENT
        return "" if self.chance is None or not self.ours.known else against_chance(self.ours, self.chance)

    @property
    def questions(self) -> str:
        """How many questions were asked, and of how many where it was not all."""
        asked = "?" if self.asked is None else str(self.asked)
        if self.available in (None, self.asked):
            return asked
        return say("{asked} of {available}", asked=asked, available=self.available)


def scores(
    run: Run,
    suites: Sequence[Suite],
    lines: Sequence[Line],
    confidence: float,
    logged: Mapping[str, Sequence[Answer]],
    marks: Mapping[tuple[str, str, str], Marks],
) -> list[Score]:
    """Return all figures of a run, those of this package's suites first.

    Args:
        run: The run.
        suites: Its suites.
        lines: Their lines.
        confidence: Coverage of the intervals, 0 to 1.
        logged: The samples of this package's tasks, by task.
        marks: The samples of other tasks, by measure.
    """
    tasks = {suite.name: suite.tasks for suite in suites}
    own = {(line.suite, line.part): line for line in reversed(lines)}
    found = [
        Score(
            run=run.name,
            key=key,
            title=line.title if line.part == AVERAGE else part_title(line.part),
            below=line.part != AVERAGE,
            ours=line.ours,
            asked=line.asked,
            available=line.available,
            chance=CHANCE,
            caveats=line.caveats,
            facts=line.facts,
            marks=_own_marks(tasks[line.suite], logged) if line.part == AVERAGE else None,
        )
        for key, line in reversed(own.items())
    ]
    return found + [_other(run, measure, confidence, marks.get(measure.key)) for measure in run.others.values()]


def interval_of_measure(measure: Measure, confidence: float) -> Interval:
    """Return a share of questions with its interval: by its counts, else by the standard error that lm-eval states."""
    if measure.correct is not None and measure.asked:
        return wilson(measure.correct, measure.asked, confidence)
    value = 100 * measure.share
    if measure.stderr is None:
        return Interval(value, math.nan, math.nan, NO_INTERVAL)
    from scipy.stats import norm

    half = 100 * measure.stderr * float(norm.ppf(0.5 + confidence / 2))
    return Interval(value, max(0.0, value - half), min(100.0, value + half), "normal")


def _other(run: Run, measure: Measure, confidence: float, marks: Marks | None) -> Score:
    options = [mark.options for mark in marks.values()] if marks else [measure.options] if measure.options else []
    return Score(
        run=run.name,
        key=measure.key,
        title=measure.title,
        below=bool(measure.group),
        ours=interval_of_measure(measure, confidence),
        asked=measure.asked,
        available=measure.available,
        chance=chance_of(options) if measure.metric.startswith("acc") else None,
        caveats=tuple(_caveats(measure)),
        facts=_facts(measure),
        marks=marks,
    )


def _caveats(measure: Measure) -> list[Condition]:
    """What a figure of another task is not; how its task is meant to be asked is not known here."""
    found = []
    limit = measure.file.config.get("limit")
    chosen = chosen_by([limit])
    if measure.asked is None or measure.available is None:
        number = say("number of questions not recorded")
        text = joined("; ", (chosen, number)) if limit is not None else number
        unknown = joined(", ", (text, say("so whether all were asked is unknown")))
        found.append(blocks(unknown, short=text, topic="questions"))
    elif measure.asked != measure.available:
        found.append(partly_asked(chosen, measure.asked, measure.available))
    if measure.stderr is None and measure.correct is None:
        found.append(note(say("no standard error is recorded, so there is no interval"), short=say("no interval")))
    return found


def _facts(measure: Measure) -> dict[str, str]:
    data = measure.file.data
    return {
        "shots": measure.recorded("n-shot"),
        "task version": measure.recorded("versions"),
        "tasks": f"{len(measure.members)} tasks",
        "questions": str(measure.available),
        "dtype": str(measure.file.dtype),
        "check": read_certificate(measure.file).kind,
        "chat template": "applied" if data.get("chat_template") else "none",
        "system instruction": "added" if data.get("system_instruction") else "none",
    }


def _own_marks(tasks: Sequence[str], logged: Mapping[str, Sequence[Answer]]) -> Marks | None:
    marks = {
        (task, answer.doc_id): Mark(answer.question, float(answer.correct), len(answer.labels))
        for task in tasks
        for answer in logged.get(task, ())
    }
    return marks or None


FACTS = {
    "chat template": say("chat template"),
    "check": say("check"),
    "dtype": say("dtype"),
    "questions": say("questions"),
    "shots": say("shots"),
    "system instruction": say("system instruction"),
    "task version": say("task version"),
    "tasks": say("tasks"),
}
"""What facts are called where they are said."""


def unlike(facts: Mapping[str, Mapping[str, str]], run: str) -> list[Condition]:
    """Return in what a run's figure came about otherwise than the same figure of the runs beside it.

    Args:
        facts: Those of the figure in each run, by the run's name.
        run: The run's name.
    """
    found = []
    for name, own in facts[run].items():
        others = sorted({theirs[name] for theirs in facts.values() if theirs.get(name, own) != own})
        if others:
            fact = FACTS.get(name, name)
            text = say("{fact} {own}; beside it {others}", fact=fact, own=own, others=joined(" and ", others))
            found.append(note(text, "", short=say("{fact} {own}", fact=fact, own=own), topic=f"unlike {name}"))
    return found


def told_unlike(of_runs: Sequence[Sequence[Score]]) -> list[list[Score]]:
    """Add to the figures of several runs in what they came about otherwise than those beside them."""
    facts: dict[tuple[str, ...], dict[str, Mapping[str, str]]] = {}
    for scores_of_run in of_runs:
        for score in scores_of_run:
            facts.setdefault(score.key, {})[score.run] = score.facts
    return [
        [replace(score, caveats=(*score.caveats, *unlike(facts[score.key], score.run))) for score in scores_of_run]
        for scores_of_run in of_runs
    ]
