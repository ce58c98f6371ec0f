"""From hidden states to log-probabilities, at the read-outs only."""

from collections.abc import Callable
from contextlib import ExitStack

import torch
from torch import nn

from ..errors import NonFiniteLogitsError
from .path_cache import PathCache

# Hidden states per call of the head: 128 rows of 64 000 float32 logits are 33 MB.
HEAD_ROWS = 128


def read_out(
    head: nn.Module, hidden: torch.Tensor, position: torch.Tensor, target: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probabilities of target tokens, and whether each is the arg-max.

    Args:
        head: From hidden states to logits over the vocabulary.
        hidden: Hidden states, `[nodes, hidden]`.
        position: The node that each read-out looks at, ascending, `[reads]`, int64, CPU.
        target: The token id looked up there, `[reads]`, int64, CPU.

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
            raise NonFiniteLogitsError(f"The model's logits are not finite (smallest {low}, largest {high}).")
        reads = (row_of_read >= first) & (row_of_read < first + len(logits))
        rows = (row_of_read[reads] - first).to(logits.device)
        targets = target[reads].to(logits.device)
        logprob[reads] = (logits[rows, targets] - logits.logsumexp(dim=-1)[rows]).cpu()
        is_greedy[reads] = (logits.argmax(dim=-1)[rows] == targets).cpu()
    return logprob, is_greedy


def first_non_finite(model: nn.Module, cache: PathCache, rerun: Callable[[], object]) -> str:
    """Where NaN or infinity first appears, found by running a row again and looking at every module's output.

    Args:
        model: The model.
        cache: The keys and values that the row started from.
        rerun: Runs the row once more.

    Returns:
        A phrase for an error message.
    """
    layer = cache.first_non_finite_layer()
    if layer is not None:
        return f"keys or values of layer {layer}, kept from an earlier row"
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, object, object], None]:
        def look(module: nn.Module, inputs: object, output: object) -> None:
            first = output[0] if isinstance(output, tuple) else output
            if not found and isinstance(first, torch.Tensor) and not first.isfinite().all():
                found.append(name)

        return look

    with ExitStack() as hooks:
        for name, module in model.named_modules():
            # Containers finish after their parts; only the parts tell where it began.
            if name and not any(module.children()):
                hooks.enter_context(_removing(module.register_forward_hook(watch(name))))
        rerun()
    return f"output of {found[0]}" if found else "logits only; every module's output is finite"


class _removing(ExitStack):  # noqa: N801 - reads as a verb in a with statement
    """Removes a hook at the end of a with block."""

    def __init__(self, hook: torch.utils.hooks.RemovableHandle) -> None:
        super().__init__()
        self.callback(hook.remove)
