"""Confidence intervals of accuracies, and McNemar's exact test."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

RESAMPLES = 9999
SEED = 20230615
"""Fixed, so that the same results always give the same interval."""


@dataclass(frozen=True)
class Interval:
    """An accuracy with its confidence interval, all in percent."""

    value: float
    low: float
    high: float
    method: str
    """``Wilson``, ``bootstrap`` over the questions within each subject, ``normal``; or that there is none."""

    @property
    def known(self) -> bool:
        """Whether there is an interval: where nothing tells the error of a figure, its bounds are not a number."""
        return not (math.isnan(self.low) or math.isnan(self.high))


def wilson(correct: int, asked: int, confidence: float) -> Interval:
    """Return the accuracy over ``asked`` questions with Wilson's score interval."""
    from scipy.stats import binomtest

    bounds = binomtest(correct, asked).proportion_ci(confidence_level=confidence, method="wilson")
    return Interval(100 * correct / asked, 100 * float(bounds.low), 100 * float(bounds.high), "Wilson")


def mean_over_subjects(counts: Sequence[tuple[int, int]], confidence: float) -> Interval:
    """Return the unweighted mean accuracy of several subjects with a bootstrap percentile interval.

    The subjects are fixed, since the published figure is over the same ones; what is drawn anew is which questions each
    subject asks. The bootstrap is therefore stratified: questions are resampled within their subject. Resampling n
    answers, k of them right, is one binomial draw, so the counts are all it takes.

    Args:
        counts: (questions answered right, questions asked) of each subject.
        confidence: The interval's coverage, 0 to 1.
    """
    import numpy as np

    if len(counts) == 1:
        return wilson(*counts[0], confidence)
    correct, asked = np.array(counts).T
    value = 100 * float((correct / asked).mean())
    if all(correct % asked == 0):
        # Nothing to resample, but all right (or wrong) in every subject does not mean that the next question is too.
        pooled = wilson(int(correct.sum()), int(asked.sum()), confidence)
        return Interval(value, min(value, pooled.low), max(value, pooled.high), "Wilson")
    draws = np.random.default_rng(SEED).binomial(asked, correct / asked, size=(RESAMPLES, len(counts)))
    tail = (1 - confidence) / 2
    low, high = np.quantile((draws / asked).mean(axis=1), [tail, 1 - tail])
    return Interval(value, 100 * float(low), 100 * float(high), "bootstrap")


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the p-value of McNemar's exact test.

    Args:
        only_first: questions that only the first run answered right.
        only_second: questions that only the second run answered right.
    """
    from scipy.stats import binomtest

    if only_first + only_second == 0:
        return 1.0
    return float(binomtest(only_first, only_first + only_second).pvalue)
