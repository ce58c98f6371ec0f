"""A certificate for ftllm: a few of a run's own requests computed by this package's model too, before ftllm answers.

The model is loaded for that, in float32, and goes again; ftllm is not in memory meanwhile.
"""

from __future__ import annotations

import copy
import gc
import logging
from collections.abc import Callable, Mapping, Sequence
from math import inf, isnan
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import torch
from transformers import GenerationConfig

from ..baichuan.layouts import CheckedCausalLM
from ..errors import CertificateError, RequestError
from ..lm.run_facts import RunFacts
from ..lm.self_check import SWITCHED_OFF
from ..trie_scorer import Certificate, joined
from ..trie_scorer.certificate import bound_of, choose_requests
from ..trie_scorer.reference import score_one_by_one
from ..trie_scorer.trie.build import TokenIds, build_trie
from .fastllm_checks import without_weights
from .fastllm_process import FastllmProcess

logger = logging.getLogger(__name__)

Pairs = Sequence[tuple[TokenIds, TokenIds]]
_LONGEST = 1 << 12  # tokens of a request that are compared where shorter ones may be, too
_STEPS = 8
_MORE_THAN_GREEDY = (
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "num_beams", "min_length"),
    *("min_new_tokens", "bad_words_ids", "forced_bos_token_id", "forced_eos_token_id", "suppress_tokens"),
    *("begin_suppress_tokens", "sequence_bias", "penalty_alpha", "exponential_decay_length_penalty"),
)
_NOTHING = (None, 0, 1, 1.0)


class FastllmCertificate:
    """The comparisons of one run.

    Args:
        source: The checkpoint's folder.
        config: Its settled configuration.
        dtype: What ftllm computes in.
        window: The context length, in tokens.
        engine: ftllm.
        facts: Where what was found is written.
        on: Whether to compare at all.
    """

    def __init__(
        self, source: str, config: Any, dtype: str, window: int, engine: FastllmProcess, facts: RunFacts, *, on: bool
    ) -> None:
        """Starts with nothing compared."""
        self._source, self._config, self._engine, self._facts, self._on = source, config, engine, facts, on
        self._dtype: torch.dtype = getattr(torch, dtype)
        self._window = window
        self._longest = 0
        self._generated = False
        if not on:
            facts.unverified = SWITCHED_OFF

    def scores(self, pairs: Pairs, answers: Callable[[Pairs], Mapping[int, tuple[float, bool]]]) -> None:
        """Compares before scoring; again only when requests are more than twice as long as any before.

        Args:
            pairs: All that is about to be scored, pairs of context and continuation ids.
            answers: Has ftllm score some; gives number, log-likelihood and whether it is greedy.

        Raises:
            CertificateError: ftllm's scores are not this package's.
        """
        longest = max((len(context) + len(continuation) for context, continuation in pairs), default=0)
        if not self._on or longest <= 2 * self._longest:
            return
        sample = [pairs[number] for number in choose_requests(build_trie(pairs), _LONGEST)]
        expected = self._reference(sample)
        found = answers(sample)
        differences = [abs(found[i][0] - logprob) for i, (logprob, _) in enumerate(expected)]
        bounds = [bound_of(self._dtype, len(continuation)) for _, continuation in sample]
        certificate = self._certificate(differences, bounds, "the log-likelihood of a request")
        self._longest = longest
        self._facts.scores_verified = joined(self._facts.scores_verified, certificate)

    def generation(self, prompts: Sequence[Sequence[int]]) -> None:
        """Compares before the first generation: a few steps after the shortest prompt.

        Args:
            prompts: Token ids of all prompts.

        Raises:
            CertificateError: The tokens that ftllm takes are not as likely by this package's model.
        """
        if not self._on or self._generated or not prompts:
            return
        prompt = min(prompts, key=len)
        steps = list(self._engine.generate(prompt, min(_STEPS, self._window - len(prompt))))
        if not steps:
            raise CertificateError(f"ftllm generated nothing after a prompt of {len(prompt)} tokens.", 0)
        tokens = [token for token, _ in steps]
        fed = [([*prompt, *tokens[:place]], [token]) for place, token in enumerate(tokens)]
        expected = self._reference(fed)
        differences = [abs(logprob - own) for (_, logprob), (own, _) in zip(steps, expected, strict=True)]
        bounds = [bound_of(self._dtype)] * len(steps)
        certificate = self._certificate(differences, bounds, "a generated token")
        self._generated = True
        self._facts.generation_verified = joined(self._facts.generation_verified, certificate)

    def ends_of_generation(self) -> list[int]:
        """The tokens that end a generated text, as the checkpoint states them.

        Raises:
            RequestError: The checkpoint's generation_config.json asks for more than greedy decoding.
        """
        stored = Path(self._source) / "generation_config.json"
        stated = GenerationConfig.from_pretrained(self._source) if stored.is_file() else self._config
        others = [name for name in _MORE_THAN_GREEDY if getattr(stated, name, None) not in _NOTHING]
        if others:
            raise RequestError(
                f"{stored} says {', '.join(f'{name}={getattr(stated, name)!r}' for name in others)}, which --model "
                "baichuan obeys and ftllm was not compared with. Use --model baichuan, or take it out of the file."
            )
        ends = stated.eos_token_id
        return [] if ends is None else list(ends) if isinstance(ends, list) else [int(ends)]

    def _certificate(self, differences: Sequence[float], bounds: Sequence[float], what: str) -> Certificate:
        ratios = [difference / bound for difference, bound in zip(differences, bounds, strict=True)]
        worst = max(range(len(ratios)), key=lambda i: inf if isnan(ratios[i]) else ratios[i])
        if not differences[worst] <= bounds[worst]:
            raise CertificateError(
                f"ftllm and this package's own model differ by {differences[worst]:.3g} nats on {what} of this run, "
                f"where the rounding of {str(self._dtype)[6:]} explains {bounds[worst]:.2g}. No score is given. Use "
                "--model baichuan, and please report the checkpoint. (self_check=false leaves this comparison out.)",
                worst,
            )
        logger.info("%d numbers of ftllm verified: off by at most %.2g nats.", len(differences), differences[worst])
        return Certificate(len(differences), differences[worst], bounds[worst])

    def _reference(self, pairs: Pairs) -> list[tuple[float, bool]]:
        """This package's own model over some requests, one by one."""
        self._engine.stop()
        parameters = sum(each.numel() for each in without_weights(self._config).parameters())
        dtype = torch.float32 if 4.5 * parameters < psutil.virtual_memory().available else self._dtype
        config = copy.deepcopy(self._config)
        model = CheckedCausalLM.from_pretrained(self._source, config=config, dtype=dtype).eval()
        answers = score_one_by_one(model, pairs)
        del model
        gc.collect()
        return answers
