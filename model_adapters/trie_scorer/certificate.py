"""A certificate for the fast way: a few of a run's own requests scored by the trie and by the model's own forward pass.

Fast ways go wrong silently where caches meet log-probabilities: a mask off by one, a stale row of a cache, a factor
after the head that was left out. So before a run is scored, requests of its own that share a prefix, with a cut across
rows between them and a continuation of several tokens where there is one, are scored both ways. The plain way is the
whole model, one request at a time, with nothing kept between them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil, sqrt

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import CertificateError
from .reference import score_one_by_one
from .scorer import TrieScorer
from .trie import TokenTrie
from .trie.build import TokenIds

COST = 0.01
"""The share of the run's distinct tokens that a certificate may cost; two requests are compared whatever they cost."""

BOUNDS = {torch.float32: 1e-3, torch.float16: 0.06, torch.bfloat16: 0.3}
"""The largest difference of one token's log-probability, in nats, that a dtype's rounding explains.

About five times the largest seen between two exact ways on random models of 4 to 32 layers: 7e-5, 0.01 and 0.054 nats
(float32 leaves more room, for models far larger than those). Errors of many tokens add up like random steps, so a
continuation of n tokens may differ by the square root of n times as much.
"""

_ROWS = 3  # into so many rows the requests are cut, so that keys and values pass from one to the next


@dataclass(frozen=True)
class Certificate:
    """How far two ways of computing the same log-probabilities were apart.

    Attributes:
        requests: Number of log-likelihoods compared.
        largest_difference: The largest difference, in nats.
        bound: What the dtype's rounding explains, in nats, for the request with that difference.
    """

    requests: int
    largest_difference: float
    bound: float


def bound_of(dtype: torch.dtype, tokens: int = 1) -> float:
    """The largest difference of a log-likelihood over so many tokens that rounding explains, in nats (see `BOUNDS`)."""
    return BOUNDS.get(dtype, BOUNDS[torch.bfloat16]) * sqrt(tokens)


def joined(first: Certificate | None, second: Certificate | None) -> Certificate | None:
    """One certificate for what two say together: all requests, and the difference that is worse for its bound."""
    if first is None or second is None:
        return first or second
    worse = max(first, second, key=lambda each: each.largest_difference / each.bound)
    return replace(worse, requests=first.requests + second.requests)


def certify_scores(
    scorer: TrieScorer,
    model: torch.nn.Module,
    requests: Sequence[tuple[TokenIds, TokenIds]],
    trie: TokenTrie,
    dtype: torch.dtype,
) -> Certificate:
    """Scores some of the requests both ways and compares.

    Args:
        scorer: The fast way.
        model: The causal language model itself, adapters and all.
        requests: All requests of the run, pairs of context ids and continuation ids; at least one.
        trie: The trie of them, from `scorer.build`.
        dtype: What the model computes in, for the bound.

    Returns:
        The certificate.

    Raises:
        CertificateError: The two ways differ by more than rounding explains; its `request` is the number of the worst.
    """
    chosen = choose_requests(trie, longest=scorer.token_budget)
    sample = [requests[index] for index in chosen]
    small = scorer.build(sample)
    fast = {score.request: score.logprob for score in scorer.score_trie(small, most_tokens=ceil(len(small) / _ROWS))}
    plain = score_one_by_one(model, sample)
    worst, request = 0.0, 0
    for i, (logprob, _) in enumerate(plain):
        ratio = abs(fast[i] - logprob) / bound_of(dtype, len(sample[i][1]))
        if not ratio <= worst:  # NaN counts as worse
            worst, request = ratio, i
    difference, bound = abs(fast[request] - plain[request][0]), bound_of(dtype, len(sample[request][1]))
    if not worst <= 1:
        context, continuation = sample[request]
        raise CertificateError(
            f"The token trie and the model's own forward pass disagree on request {chosen[request]} of this run "
            f"({len(context)} tokens of context, then {[int(token) for token in continuation[:5]]}): log-likelihood "
            f"{fast[request]:.6g} by the trie, {plain[request][0]:.6g} by the model, where the rounding of "
            f"{str(dtype).removeprefix('torch.')} explains a difference of {bound:.2g}. Score with trie=False, and "
            "please report the model.",
            request=chosen[request],
        )
    return Certificate(len(sample), difference, bound)


def choose_requests(trie: TokenTrie, longest: int) -> list[int]:
    """Picks requests to compare: two neighbours that share a prefix, as long as the cost allows, with all their labels.

    Args:
        trie: All requests of the run.
        longest: Tokens that surely fit in memory at once; longer requests are taken only where there are no others.

    Returns:
        Request numbers, ascending. Where no request of the pair has a continuation of several tokens, the shortest that
        has is added, with its neighbour.
    """
    leaf = np.full(len(trie.reads_per_request), -1)
    np.maximum.at(leaf, trie.read_request, trie.read_node)  # the last node that each request feeds
    leaves = np.unique(leaf)  # distinct fed sequences, neighbours beside each other
    length = trie.depth[leaves] + 1
    chosen = set(_pair(trie, leaves, length, longest).tolist())
    several = np.flatnonzero(trie.reads_per_request > 1)
    if len(several) and not chosen & set(leaf[several].tolist()):
        shortest = np.searchsorted(leaves, leaf[several][np.argmin(trie.depth[leaf[several]])])
        chosen |= set(leaves[shortest : shortest + 2].tolist())
    return np.flatnonzero(np.isin(leaf, list(chosen))).tolist()  # type: ignore[no-any-return]


def _pair(trie: TokenTrie, leaves: NDArray[np.int64], length: NDArray[np.int32], longest: int) -> NDArray[np.int64]:
    """Two neighbouring leaves under one root, or a single leaf where no two share anything."""
    roots = np.flatnonzero(trie.depth == 0)
    root = np.searchsorted(roots, leaves, side="right")
    sharing = np.flatnonzero(root[1:] == root[:-1])
    if not len(sharing):
        return leaves[[int(np.argmin(length))]]
    cost = 2 * (length[sharing] + length[sharing + 1])  # at most, once each way
    allowed = (cost <= COST * len(trie)) & (np.maximum(length[sharing], length[sharing + 1]) <= longest)
    best = int(np.argmax(np.where(allowed, cost, 0))) if allowed.any() else int(np.argmin(cost))
    return leaves[sharing[best] : sharing[best] + 2]
