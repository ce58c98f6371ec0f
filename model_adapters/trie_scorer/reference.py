"""The plain reference: one request at a time through the model's ordinary forward. Slow, and obviously right."""

from collections.abc import Sequence

import torch

from ..hosts.accelerate import input_device
from .trie.build import TokenIds


@torch.inference_mode()
def score_one_by_one(model: torch.nn.Module, requests: Sequence[tuple[TokenIds, TokenIds]]) -> list[tuple[float, bool]]:
    """The log-likelihood of each continuation after its context, and whether greedy decoding would produce it.

    Args:
        model: A causal language model. Its whole forward pass is run, so what it does after its head counts too.
        requests: Pairs of context ids and continuation ids, both non-empty.

    Returns:
        `(logprob, is_greedy)` of each request, in their order; logprob in nats, summed over the continuation.
    """
    answers = []
    device = input_device(model)
    before: list[int] | None = None
    for context, continuation in requests:
        fed = [*context, *continuation[:-1]]
        if fed != before:  # the labels of one question follow each other, and feed the same tokens
            logits = model(input_ids=torch.tensor([fed], device=device), use_cache=False).logits[0]
            before = fed
        targets = torch.tensor([*continuation], device=logits.device)
        rows = logits[-len(continuation) :].float()
        logprobs = rows.log_softmax(dim=-1).gather(1, targets[:, None])
        answers.append((float(logprobs.sum()), bool((rows.argmax(dim=-1) == targets).all())))
    return answers
