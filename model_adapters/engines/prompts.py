"""Requests as prompts of an engine that tells of the next token alone: one a question, or one a token of an answer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ..lm.published_requests import id_list
from ..trie_scorer.trie.build import TokenIds


class Prompts:
    """The distinct prompts of some requests.

    The labels of one question are asked at one prompt. A continuation of several tokens is asked token by token, each
    behind those before it.

    Args:
        requests: Pairs of context ids and continuation ids, both non-empty.

    Attributes:
        asked: Prompts, and the tokens asked for behind each, in the order of their tokens: what begins alike follows
            each other.
    """

    def __init__(self, requests: Sequence[tuple[TokenIds, TokenIds]]) -> None:
        """Puts equal prompts together."""
        reads: dict[tuple[int, ...], list[tuple[int, int]]] = {}
        self._left = [len(continuation) for _, continuation in requests]
        self._logprob = [0.0] * len(requests)
        self._greedy = [True] * len(requests)
        for number, both in enumerate(requests):
            context, continuation = map(id_list, both)
            for place, target in enumerate(continuation):
                reads.setdefault((*context, *continuation[:place]), []).append((target, number))
        in_order = sorted(reads)
        self._reads = [reads[prompt] for prompt in in_order]
        self.asked = [(list(prompt), [target for target, _ in reads[prompt]]) for prompt in in_order]

    def read(self, prompt: int, logprobs: Sequence[float], best: int) -> Iterator[tuple[int, tuple[float, bool]]]:
        """Takes the answer to a prompt.

        Args:
            prompt: Its number in `asked`.
            logprobs: Of the tokens asked for, in nats.
            best: The likeliest token of all.

        Yields:
            For each request that is answered now: its number, log-likelihood, and whether greedy decoding gives it.
        """
        for (target, number), logprob in zip(self._reads[prompt], logprobs, strict=True):
            self._logprob[number] += logprob
            self._greedy[number] &= target == best
            self._left[number] -= 1
            if not self._left[number]:
                yield number, (self._logprob[number], self._greedy[number])
