"""The plain reference: one request at a time through the model's ordinary forward. Slow, and obviously right."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedModel

from .trie.build import TokenIds


@torch.inference_mode()
def score_one_by_one(model: PreTrainedModel, requests: Sequence[tuple[TokenIds, TokenIds]]) -> list[tuple[float, bool]]:
    """The log-likelihood of each continuation after its context, and whether greedy decoding would produce it.

    Args:
        model: A causal language model.
        requests: Pairs of context ids and continuation ids, both non-empty.

    Returns:
        `(logprob, is_greedy)` of each request, in their order; logprob in nats, summed over the continuation.
    """
    answers = []
    for context, continuation in requests:
        fed = torch.tensor([[*context, *continuation[:-1]]], device=model.device)
        targets = torch.tensor([*continuation], device=model.device)
        logits = model(input_ids=fed, use_cache=False).logits[0, -len(continuation) :].float()
        logprobs = logits.log_softmax(dim=-1).gather(1, targets[:, None])
        answers.append((float(logprobs.sum()), bool((logits.argmax(dim=-1) == targets).all())))
    return answers
