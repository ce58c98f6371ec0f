"""How far two runs lie apart on the same thing, and whether that is more than chance."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..languages import say
from ..results import Marks
from .intervals import Interval, mcnemar
from .scores import Score


@dataclass(frozen=True)
class Flips:
    """The questions that two runs both logged."""

    gained: int
    """Right in the second run alone."""
    lost: int
    """Right in the first run alone."""
    of: int

    @property
    def p_value(self) -> float:
        """McNemar's exact test that both are right equally often."""
        return mcnemar(self.lost, self.gained)


@dataclass(frozen=True)
class Difference:
    """The second run's figure minus the first one's, in percentage points."""

    first: Score
    second: Score
    flips: Flips | None
    """None where not both logged the same questions."""
    low: float
    """Of the interval for two samples of questions, so it is wide where both runs were asked the same."""
    high: float
    told_apart: bool | None
    """Whether it is more than chance: by McNemar's test where there are flips, else by the interval; None unknown."""

    @property
    def value(self) -> float:
        """The difference."""
        return self.second.ours.value - self.first.ours.value

    @property
    def verdict(self) -> str:
        """Whether it is more than chance, in words."""
        if self.told_apart is None:
            return say("no interval")
        return say("differs") if self.told_apart else say("not told apart")


def difference(first: Score, second: Score, confidence: float) -> Difference:
    """Return how far the second run lies from the first.

    Args:
        first: A figure of the first run.
        second: The same figure of the second run.
        confidence: What a difference must be told apart with, 0 to 1.
    """
    low, high = _bounds(first.ours, second.ours)
    found = flips(first.marks, second.marks)
    told = found.p_value < 1 - confidence if found else None if math.isnan(low) else low > 0 or high < 0
    return Difference(first, second, found, low, high, told)


def flips(first: Marks | None, second: Marks | None) -> Flips | None:
    """Return which questions changed between two runs, or None where they cannot be paired."""
    if not first or not second:
        return None
    shared = [key for key in first if key in second]
    pairs = [(first[key], second[key]) for key in shared]
    plain = all(mark.score in (0, 1) for pair in pairs for mark in pair)
    if not shared or not plain or any(one.question != other.question for one, other in pairs):
        return None
    gained = sum(one.score < other.score for one, other in pairs)
    lost = sum(one.score > other.score for one, other in pairs)
    return Flips(gained, lost, len(pairs))


def _bounds(first: Interval, second: Interval) -> tuple[float, float]:
    """Newcombe's hybrid interval of a difference, from the intervals of the two shares."""
    value = second.value - first.value
    below = math.hypot(second.value - second.low, first.high - first.value)
    above = math.hypot(second.high - second.value, first.value - first.low)
    return value - below, value + above
