"""Generation behind common beginnings: which prompts share one, whether this model may, and what the results say."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ..errors import CertificateError, UnsupportedModelError
from ..hosts.transformers import CACHE_KEYWORD
from ..trie_scorer.budget import is_out_of_memory
from ..trie_scorer.generation_certificate import STEPS, certify_generation
from ..trie_scorer.refusals import same_rope_up_to
from ..trie_scorer.shared_prefix import Alike, SharedPrefix, alike
from ..trie_scorer.trie.build import TokenIds
from .run_facts import RunFacts
from .self_check import arithmetic

logger = logging.getLogger(__name__)


class SharedGeneration:
    """What one model's generation shares.

    Args:
        lm: The lm-eval model.
        facts: Where it is noted what was shared.
        check: Whether to compare the first shared steps with the model's own.
    """

    def __init__(self, lm: Any, facts: RunFacts, *, check: bool) -> None:
        """Shares nothing yet."""
        self._lm, self._facts, self._check = lm, facts, check
        self._prefix: SharedPrefix | None = None
        self._refused = False

    def groups(self, contexts: Sequence[TokenIds]) -> list[Alike]:
        """Groups prompts, given by their token ids, by what they share; all in one where this model shares nothing."""
        model = self._lm.model
        if self._refused or self._lm.backend != "causal" or same_rope_up_to(model) is not None:
            return [Alike(tuple(range(len(contexts))), np.empty(0, dtype=np.int64))]
        return alike(contexts)

    @contextmanager
    def sharing(self, group: Alike, contexts: Sequence[TokenIds]) -> Iterator[None]:
        """Lets the prompts of a group share their beginning inside this block, where the model may."""
        self._prefix = self._verified(group, contexts) if len(group.prefix) and not self._refused else None
        try:
            yield
        finally:
            self._prefix = None

    def arrange(self, ids: torch.Tensor, options: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        """A batch as `generate` is to take it.

        Args:
            ids: Token ids, padded from the left, `[batch, tokens]`.
            options: The options of `generate`, ``attention_mask`` among them.

        Returns:
            Token ids of the same shape, and the options with the cache of what the rows share, if they share any.
        """
        several = any(options.get(name) not in (None, 1) for name in ("num_beams", "num_return_sequences"))
        if self._prefix is None or several:
            return ids, options
        with self._in_its_precision():
            batch = self._prefix.batch(ids, options["attention_mask"])
        if batch is None:
            return ids, options
        self._facts.shared_prompts += len(ids)
        self._facts.shared_prompt_tokens += len(ids) * len(self._prefix)
        return batch.ids, {**options, "attention_mask": batch.mask, CACHE_KEYWORD: batch.cache}

    def _in_its_precision(self) -> torch.autocast:
        precision = self._lm.mixed_precision_dtype
        return torch.autocast(self._lm.device.type, dtype=precision, enabled=precision is not None)

    def _verified(self, group: Alike, contexts: Sequence[TokenIds]) -> SharedPrefix | None:
        """The group's beginning, once it was run and the first one's effect compared; None where nothing is shared."""
        most = self._lm.max_length - STEPS
        whole = [context for member in group.members if len(context := contexts[member]) <= most]
        if len(whole) < 2:
            return None  # what is too long loses its beginning
        try:
            return self._run(group.prefix, sorted(whole, key=len))
        except UnsupportedModelError as error:
            self._refuse(str(error).removesuffix(" Use trie=False."))
        except CertificateError as error:
            self._refuse(f"with one they would be others: {error}")
        except Exception as error:
            if is_out_of_memory(error):
                raise
            said = next(iter(str(error).splitlines()), "")
            self._refuse(f"this model can't go on behind one ({type(error).__name__}: {said})")
        return None

    def _run(self, start: TokenIds, prompts: Sequence[TokenIds]) -> SharedPrefix:
        """Runs a beginning of prompts, given from the shortest to the longest; raises where they can't share it."""
        lm = self._lm
        prefix = SharedPrefix(lm.model, start)
        with self._in_its_precision():
            can_go_on = prefix.run()
        if not can_go_on:
            raise UnsupportedModelError("a batch can't go on behind what this model keeps of one.")
        if not (prefix.keeps_every_token or self._check):
            raise UnsupportedModelError(
                "whether this model goes on rightly behind windows or states is seen by comparing only, and "
                "self_check=false leaves that out."
            )
        if self._check and not self._facts.generation_shares_verified:
            ends, pad = [prompts[0], prompts[-1]], lm.tokenizer.pad_token_id or 0
            certify_generation(lm.model, ends, arithmetic(lm), pad, together=lm.batch_size != 1, prefix=prefix)
            self._facts.generation_shares_verified = True
        return prefix

    def _refuse(self, reason: str) -> None:
        """From now on this model's prompts share nothing; the log says why."""
        self._refused = True
        logger.warning("Generated answers share no prefix, because %s", reason)
