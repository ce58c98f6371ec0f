"""From hidden states to log-probabilities, at the read-outs only."""

from collections.abc import Callable

import torch
from torch import nn

from ..errors import NonFiniteLogitsError

# Hidden states per call of the head: 128 rows of 64 000 float32 logits are 33 MB.
HEAD_ROWS = 128


def read_out(
    head: nn.Module,
    hidden: torch.Tensor,
    position: torch.Tensor,
    target: torch.Tensor,
    non_finite_at: Callable[[int], NonFiniteLogitsError],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of target tokens, and whether each is the arg-max.

    Args:
        head: From hidden states to logits over the vocabulary.
        hidden: Hidden states, `[nodes, hidden]`.
        position: The node that each read-out looks at, ascending, `[reads]`, int64, CPU.
        target: The token id looked up there, `[reads]`, int64, CPU.
        non_finite_at: Makes the error for a node whose logits are not finite.

    Returns:
        Log-probabilities `[reads]`, float32, and arg-max flags `[reads]`, bool, both on CPU.

    Raises:
        NonFiniteLogitsError: A logit is NaN or infinite.
    """
    nodes, row_of_read = position.unique_consecutive(return_inverse=True)
    read_states = hidden[nodes.to(hidden.device)]
    logprob = torch.empty(len(target), dtype=torch.float32)
    is_greedy = torch.empty(len(target), dtype=torch.bool)
    for first in range(0, len(nodes), HEAD_ROWS):
        logits = head(read_states[first : first + HEAD_ROWS]).float()  # [rows, vocabulary]
        low, high = logits.aminmax()
        if not (low.isfinite() and high.isfinite()):
            row = int(logits.isfinite().all(dim=-1).logical_not().nonzero()[0])
            raise non_finite_at(int(nodes[first + row]))
        reads = (row_of_read >= first) & (row_of_read < first + len(logits))
        rows = (row_of_read[reads] - first).to(logits.device)
        targets = target[reads].to(logits.device)
        logprob[reads] = (logits[rows, targets] - logits.logsumexp(dim=-1)[rows]).cpu()
        is_greedy[reads] = (logits.argmax(dim=-1)[rows] == targets).cpu()
    return logprob, is_greedy
