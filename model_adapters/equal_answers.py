"""Answers of a question that are equally likely, so that their order or rounding says which counts, not the model."""

from __future__ import annotations

from collections.abc import Sequence

ROUNDING = 1e-5
"""Nats that float32 arithmetic leaves open. Equal rows of a head give log-likelihoods that differ in their last bits
(2e-6 at -22), and differ otherwise where a resumed run has other questions beside them."""


def equally_likely(logprobs: Sequence[float]) -> bool:
    """Return whether the best two of some log-likelihoods, in nats, are as far apart as `ROUNDING` or less."""
    best = sorted(logprobs, reverse=True)[:2]
    return len(best) > 1 and best[0] - best[1] <= ROUNDING
