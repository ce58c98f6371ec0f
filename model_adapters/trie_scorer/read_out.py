"""Log-probabilities at the read-outs only, from the model's own forward.

The decoder runs once over a row; what stands after it in the model's forward (the head with its bias, a softcap, a
scale) runs again for each part of the read-outs, since the logits of all of them at once would fill the memory. So
every family's arithmetic after the decoder is its own, without a word of it here.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel

from ..errors import UnsupportedModelError

# Read-outs whose logits are held at once: 128 rows of 64 000 float32 logits are 33 MB.
HEAD_ROWS = 128

# The CPU's products with more rows than FEW and fewer than ENOUGH take longer than with ENOUGH, up to twice as long.
FEW, ENOUGH = 4, 16


def logits_in_parts(
    model: PreTrainedModel, decoder: nn.Module, inputs: dict[str, Any], nodes: torch.Tensor
) -> Iterator[torch.Tensor]:
    """The logits of a model's forward at chosen tokens, HEAD_ROWS of them at a time.

    Args:
        model: The model.
        decoder: The module inside it whose output its head reads.
        inputs: Keywords of the model's forward, for a batch of one.
        nodes: Where to look, `[nodes]`, int64.

    Yields:
        Float32 logits, `[up to HEAD_ROWS, vocabulary]`. At least once, so that a row is run whatever is read of it.

    Raises:
        UnsupportedModelError: The model's forward does not call its decoder once, or its logits are of another shape.
    """
    # The choice is made in the decoder's output, so that the decoder need not run again for each part, nor a model have
    # `logits_to_keep`. A model that has it is told to keep all that is left, by indices: told nothing, Gemma 4 skips
    # tokens inside its decoder.
    keeps = "logits_to_keep" in inspect.signature(model.forward).parameters

    def logits_of(asked: torch.Tensor) -> torch.Tensor:
        fill = ENOUGH - len(asked) if FEW < len(asked) < ENOUGH else 0
        part = torch.cat([asked, asked[-1:].expand(fill)])
        keep = {"logits_to_keep": torch.arange(len(part))} if keeps else {}
        chosen.nodes, chosen.calls = part, 0
        # Past the hooks on the model itself, which would run it again to find what is not finite, amid a row.
        logits: torch.Tensor = model.forward(**inputs, **keep).logits
        if chosen.calls != 1 or logits.shape[:-1] != (1, len(part)):
            raise UnsupportedModelError(
                f"{type(model).__name__} makes no logits of what its {type(decoder).__name__} returns, token by "
                "token, so they cannot be had at the read-outs only. Use trie=False."
            )
        return logits[0, : len(asked)].float()

    with _runs_once(decoder) as chosen:
        for part in nodes.split(HEAD_ROWS) if len(nodes) else [torch.zeros(1, dtype=torch.int64)]:
            yield logits_of(part)  # and nothing here holds them while the next are computed


class _Chosen:
    """Which tokens' hidden states a decoder returns, and how often it was asked since that was set."""

    def __init__(self) -> None:
        self.nodes = torch.zeros(0, dtype=torch.int64)
        self.calls = 0


@contextmanager
def _runs_once(decoder: nn.Module) -> Iterator[_Chosen]:
    """Inside this block a decoder runs at its first call only; each call returns the hidden states of chosen tokens."""
    chosen = _Chosen()
    own = decoder.__dict__.get("forward")  # such as a hook of accelerate's around the class's own
    forward = decoder.forward
    output: Any = None

    def remembering(*args: Any, **kwargs: Any) -> Any:
        nonlocal output
        if output is None:
            if kwargs.get("position_ids") is None:
                raise UnsupportedModelError(
                    f"{type(decoder).__name__} is not handed the positions that its model is given. Use trie=False."
                )
            output = forward(*args, **kwargs)
        chosen.calls += 1
        return _at(output, chosen.nodes)

    decoder.forward = remembering
    try:
        yield chosen
    finally:
        if own is None:
            del decoder.forward
        else:
            decoder.forward = own


def _at(output: Any, nodes: torch.Tensor) -> Any:
    """A decoder's output with the hidden states of chosen tokens only."""
    if isinstance(output, tuple):
        return (output[0][:, nodes.to(output[0].device)], *output[1:])
    cut = copy.copy(output)
    cut.last_hidden_state = output.last_hidden_state[:, nodes.to(output.last_hidden_state.device)]
    return cut


class NonFiniteAtError(Exception):
    """The logits at a node of the row, counted from 0, are not finite; for `TrieScorer`, which says more."""

    def __init__(self, node: int) -> None:
        """Takes the node."""
        super().__init__(node)
        self.node = node


def read_out(
    logits_at: Callable[[torch.Tensor], Iterator[torch.Tensor]], position: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of target tokens, and whether each is the arg-max.

    Args:
        logits_at: Float32 logits at nodes `[nodes]`, in parts of `[rows, vocabulary]`.
        position: The node that each read-out looks at, ascending, `[reads]`, int64, CPU.
        target: The token id looked up there, `[reads]`, int64, CPU.

    Returns:
        Log-probabilities `[reads]`, float32, and arg-max flags `[reads]`, bool, both on CPU.

    Raises:
        NonFiniteAtError: A logit is NaN or infinite.
    """
    nodes, row_of_read = position.unique_consecutive(return_inverse=True)
    logprob = torch.empty(len(target), dtype=torch.float32)
    is_greedy = torch.empty(len(target), dtype=torch.bool)
    first = 0
    for logits in logits_at(nodes):
        if not len(nodes):
            continue
        low, high = logits.aminmax()
        if not (low.isfinite() and high.isfinite()):
            row = int(logits.isfinite().all(dim=-1).logical_not().nonzero()[0])
            raise NonFiniteAtError(int(nodes[first + row]))
        reads = (row_of_read >= first) & (row_of_read < first + len(logits))
        rows = (row_of_read[reads] - first).to(logits.device)
        targets = target[reads].to(logits.device)
        logprob[reads] = (logits[rows, targets] - logits.logsumexp(dim=-1)[rows]).cpu()
        is_greedy[reads] = (logits.argmax(dim=-1)[rows] == targets).cpu()
        first += len(logits)
        del logits  # before the next are computed
    return logprob, is_greedy
