"""Has a run prove its fast ways on its own model and its own requests, before it uses them.

What is compared, and how closely, is `trie_scorer`'s business; here is when it happens, what it is told of lm-eval's
requests, and what the results say of it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch

from ..errors import CertificateError
from ..trie_scorer import TrieScorer, certify_generation, certify_scores, joined
from ..trie_scorer.budget import is_out_of_memory
from ..trie_scorer.trie import TokenTrie
from .request_encoding import Encoded
from .run_facts import RunFacts

logger = logging.getLogger(__name__)

SWITCHED_OFF = "switched off by self_check=false"
NOT_NEEDED = "not needed: lm-eval's own batches scored"
NO_MEMORY = "not possible: one request at a time ran out of memory"


class SelfCheck:
    """The comparisons of one process's run.

    Args:
        facts: Where what was found is written.
        on: Whether to compare at all.
    """

    def __init__(self, facts: RunFacts, *, on: bool) -> None:
        """Starts with nothing compared."""
        self._facts, self._on = facts, on
        self._longest_scored = 0
        self._generated = False

    def scores(self, lm: Any, scorer: TrieScorer, requests: Sequence[Encoded], trie: TokenTrie) -> None:
        """Compares before scoring; again only when requests are more than twice as long as any before.

        Args:
            lm: The lm-eval model.
            scorer: Its trie scorer.
            requests: All that is about to be scored.
            trie: The trie of them.

        Raises:
            CertificateError: The trie's scores are not the model's.
        """
        longest = int(trie.depth.max()) + 1
        if not self._on:
            self._facts.unverified = SWITCHED_OFF
        if not self._on or longest <= 2 * self._longest_scored:
            return
        pairs = [(context, continuation) for _, context, continuation in requests]
        try:
            found = certify_scores(scorer, lm.model, pairs, trie, arithmetic(lm))
        except CertificateError as error:
            key = requests[error.request][0]
            shown = "" if key is None else f" That is {key[1][:60]!r} after {key[0][-60:]!r}."
            raise CertificateError(
                f"{error}{shown} (self_check=false scores without this comparison.)", error.request
            ) from error
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            logger.warning("The scores are not verified: a request by itself ran out of memory.")
            self._facts.unverified = NO_MEMORY
            return
        self._longest_scored = longest
        self._facts.scores_verified = joined(self._facts.scores_verified, found)
        logger.info("%d scores verified: off by at most %.2g nats.", found.requests, found.largest_difference)

    def not_needed(self) -> None:
        """Notes that scores came from lm-eval's own batches."""
        self._facts.unverified = NOT_NEEDED

    def generation(self, lm: Any, contexts: Sequence[str]) -> None:
        """Compares before the first generation, on the run's shortest prompt and one of its longer ones.

        Args:
            lm: The lm-eval model.
            contexts: The prompts of all requests.

        Raises:
            CertificateError: Steps with the KV cache are not what the model computes without it.
        """
        if not self._on:
            self._facts.unverified = SWITCHED_OFF
        if self._generated or not self._on or lm.backend != "causal":
            return
        self._generated = True
        by_length = sorted({context for context in contexts if context}, key=len)
        room = max(1, lm.max_length - lm.max_gen_toks)
        prompts = [lm.tok_encode(context)[-room:] for context in dict.fromkeys((*by_length[:1], *by_length[1:2]))]
        if not prompts:
            return
        together = lm.batch_size != 1 and len(prompts) > 1
        pad = lm.tokenizer.pad_token_id
        rows = lm.model.get_input_embeddings().weight.shape[0]
        pad = pad if pad is not None and pad < rows else 0
        try:
            found = certify_generation(lm.model, prompts, arithmetic(lm), pad, together=together)
        except CertificateError as error:
            raise CertificateError(
                f"{error} (self_check=false generates without this comparison.)", error.request
            ) from error
        self._facts.generation_verified = found
        logger.info("%d generated steps verified: off by at most %.2g nats.", found.requests, found.largest_difference)


def arithmetic(lm: Any) -> torch.dtype:
    """The coarsest dtype that a model computes in: its own, autocast's, or what stands for quantized weights."""
    if getattr(lm.model.config, "quantization_config", None) is not None:
        return torch.bfloat16
    dtypes = [dtype for dtype in (lm.model.dtype, lm.mixed_precision_dtype) if dtype is not None]
    return max(dtypes, key=lambda dtype: torch.finfo(dtype).eps)
