"""A certificate for generation: greedy steps with the KV cache beside the same steps recomputed without it.

A host library that renames a keyword, or a cache that a model does not fill, changes every generated token and raises
nothing. So before the first generation a few steps from the run's own prompts are compared with the whole sequence run
anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import GenerationConfig

from ..errors import CertificateError
from ..hosts.accelerate import input_device
from ..hosts.transformers import CACHE_KEYWORD
from .certificate import Certificate, bound_of
from .shared_prefix import SharedPrefix
from .trie.build import TokenIds

STEPS = 4
"""Tokens generated from each prompt; the first comes from the prompt alone, the others need the cache."""


@torch.inference_mode()
def certify_generation(
    model: Any,
    prompts: Sequence[TokenIds],
    dtype: torch.dtype,
    pad_token_id: int,
    *,
    together: bool,
    prefix: SharedPrefix | None = None,
) -> Certificate:
    """Generates greedily with the cache, and recomputes.

    Args:
        model: A causal language model with `generate`.
        prompts: Token ids of a few prompts, none empty.
        dtype: What the model computes in, for the bound.
        pad_token_id: What fills shorter prompts up, from the left.
        together: Whether the prompts are run as one batch, padded, as the run itself will.
        prefix: What the prompts begin with, if that is to be run once.

    Returns:
        The certificate; its `requests` counts the steps compared.

    Raises:
        CertificateError: A step's log-probability differs by more than rounding explains; its `request` is the number
            of the prompt.
    """
    settings = GenerationConfig(
        max_new_tokens=STEPS,
        min_new_tokens=STEPS,  # also where an answer ends sooner: an eos_token_id of None is the model's own
        do_sample=False,
        use_cache=True,
        pad_token_id=pad_token_id,
        output_logits=True,
        return_dict_in_generate=True,
    )
    worst = 0.0
    groups = [list(range(len(prompts)))] if together else [[i] for i in range(len(prompts))]
    for group in groups:
        ids, mask = _left_padded([prompts[i] for i in group], pad_token_id, input_device(model))
        real, cache = mask, {}
        if prefix is not None and (batch := prefix.batch(ids, mask)) is not None:
            ids, real = batch.ids, batch.mask
            cache = {CACHE_KEYWORD: batch.cache}
        output = model.generate(input_ids=ids, attention_mask=real, generation_config=settings, **cache)
        cached = torch.stack(output.logits, dim=1).float().log_softmax(-1)  # [prompts, steps, vocabulary]
        for row, number in enumerate(group):
            generated = output.sequences[row, -STEPS:]
            sequence = torch.cat([ids[row][real[row] == 1], generated])
            worst = max(worst, _compare_steps(model, sequence, cached[row], dtype, number))
    return Certificate(STEPS * len(prompts), worst, bound_of(dtype))


def _compare_steps(model: Any, sequence: torch.Tensor, cached: torch.Tensor, dtype: torch.dtype, number: int) -> float:
    """The largest difference of the last steps of a sequence, `[tokens]`, from their cached log-probabilities."""
    logits = model(input_ids=sequence[None, :-1], use_cache=False).logits[0, -STEPS:]
    plain = logits.float().log_softmax(-1)  # [steps, vocabulary]
    cached, generated = cached.to(plain.device), sequence[-STEPS:].to(plain.device)
    looked_at = torch.stack([generated, plain.argmax(-1)], dim=1)  # what was chosen, and what should have been
    difference = (cached.gather(1, looked_at) - plain.gather(1, looked_at)).abs().amax(dim=1)
    bound = bound_of(dtype)
    wrong = ~(difference <= bound)  # NaN is wrong too
    if bool(wrong.any()):
        step = int(wrong.nonzero()[0])
        compared = "; ".join(
            f"token {token}: {float(cached[step, token]):.6g} with it, {float(plain[step, token]):.6g} without"
            for token in dict.fromkeys(looked_at[step].tolist())
        )
        raise CertificateError(
            f"Generating with the KV cache and without it disagree on prompt {number} of this run "
            f"({len(sequence) - STEPS} tokens), at generated token {step + 1}. Log-probability of {compared}; the "
            f"rounding of {str(dtype).removeprefix('torch.')} explains a difference of {bound:.2g}. Try batch_size=1 "
            "and another release of transformers, and please report the model.",
            request=number,
        )
    return float(difference.max())


def _left_padded(
    prompts: Sequence[TokenIds], pad_token_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and attention mask, `[prompts, longest]` each."""
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_token_id, device=device)
    mask = torch.zeros((len(prompts), longest), dtype=torch.int64, device=device)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor([int(token) for token in prompt], device=device)
        mask[row, longest - len(prompt) :] = 1
    return ids, mask
