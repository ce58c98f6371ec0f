"""Answers of a question that are equally likely, so that their order or rounding says which counts, not the model."""

from __future__ import annotations

from collections.abc import Sequence

ROUNDING = 1e-5
"""Nats that float32 arithmetic leaves open. Equal rows of a head give log-likelihoods that differ in their last bits
(2e-6 at -22), and differ otherwise where a resumed run has other questions beside them."""


def margin(logprobs: Sequence[float]) -> float:
    """How far the best of two or more log-likelihoods, in nats, is ahead of the second."""
    first, second = sorted(logprobs, reverse=True)[:2]
    return first - second


def equally_likely(logprobs: Sequence[float]) -> bool:
    """Return whether the best of two or more log-likelihoods, in nats, are no further apart than `ROUNDING`."""
    return margin(logprobs) <= ROUNDING
