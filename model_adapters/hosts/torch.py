"""Names of PyTorch that it keeps private."""

import torch

from . import Lean

__all__ = ["LEANS", "attend_on_cpu"]


def attend_on_cpu(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    *,
    scale: float,
    bias: torch.Tensor | None = None,
    causal: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The CPU's fused kernel behind `scaled_dot_product_attention`, which hides the log-sum-exp that this one returns.

    FlexAttention, which returns it too, needs a compiler on the user's machine, or takes the memory of all scores.

    Args:
        query: `[1, heads, queries, head_dim]`.
        key: `[1, heads, keys, head_dim]`.
        value: `[1, heads, keys, head_dim]`.
        scale: Factor on the scores.
        bias: Added to the scores, in the dtype of query: `[1, 1 or heads, 1 or queries, keys]`; None for nothing.
        causal: Query i sees the keys up to the i-th; without a bias.

    Returns:
        What is attended, `[1, heads, queries, head_dim]`, and the natural logarithm of the sum of the exponentials of
        all scores that a query sees, `[1, heads, queries]`, float32.
    """
    out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, 0.0, causal, attn_mask=bias, scale=scale
    )
    return out, lse


LEANS = (
    Lean(
        "torch:ops.aten._scaled_dot_product_flash_attention_for_cpu",
        "trie_scorer.merged_attention joins the parts of a softmax by its log-sum-exp",
    ),
)
