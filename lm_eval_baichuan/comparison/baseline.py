"""One run against the run that the user named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .differences import Difference, difference
from .scores import Score


@dataclass(frozen=True)
class Against:
    """What sets a run apart from another."""

    run: str
    baseline: str
    differences: tuple[Difference, ...]
    """From the other run to this one, of each thing that both were asked."""


def set_against(scores: Sequence[Score], baseline: Sequence[Score], confidence: float) -> Against | None:
    """Set a run's figures against those of another; None where the two were asked nothing alike.

    Args:
        scores: The run's.
        baseline: The other's.
        confidence: What a difference must be told apart with, 0 to 1.
    """
    theirs = {score.key: score for score in baseline}
    found = tuple(difference(theirs[s.key], s, confidence) for s in scores if s.key in theirs)
    return Against(found[0].second.run, found[0].first.run, found) if found else None
