"""What answering at random would score, and whether a run scores more."""

from __future__ import annotations

from collections.abc import Sequence

from ..languages import say
from .intervals import Interval

OPTIONS = 4
"""Of every question of this package's tasks."""

ABOVE = say("above chance")
LIKE = say("not told from chance")
BELOW = say("below chance")


def chance_of(options: Sequence[int]) -> float | None:
    """Return what answering at random scores on questions with so many options each, in percent; None without any."""
    return 100 * sum(1 / number for number in options) / len(options) if options and all(options) else None


def against_chance(ours: Interval, chance: float) -> str:
    """Say whether an interval lies above, below or about what answering at random scores."""
    if ours.low > chance:
        return ABOVE
    return BELOW if ours.high < chance else LIKE
