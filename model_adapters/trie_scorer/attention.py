"""Attention over a row of the trie, three exact ways, and the function that transformers calls.

Every way computes softmax(q k / sqrt(head_dim) + bias) v over the keys `[path | nodes]` that the rule of the trie makes
visible. The bias is 0 for RoPE and -slope * (depth of query - depth of key) for ALiBi (Press et al. 2022,
arXiv:2108.12409), added to the scores in float32 whatever the model's dtype: in bfloat16 it rounds to steps that move
benchmark scores.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..errors import UnsupportedModelError
from .path_cache import PathCache
from .trie import Row, TokenTrie, ancestors_within, visible

ATTENTION_NAME = "baichuan_token_trie"
"""The name under which transformers finds `trie_attention`."""

# Queries of one block; a block's keys are its ancestors and itself, so a larger block wastes more work on hidden keys
# and a smaller one repeats more of the path. 64 to 256 differ by a few percent on CPU.
BLOCK = 128

_UNSUPPORTED = ("sliding_window", "softcap", "s_aux")


class Attend(Protocol):
    """Attention over one row."""

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, slopes: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        """Attends.

        Args:
            query: `[1, heads, nodes, head_dim]`.
            key: `[1, kv_heads, path + nodes, head_dim]`.
            value: The same shape as key.
            slopes: ALiBi's slope of each head, `[heads]`, float32; None without ALiBi.
            scaling: Factor on the scores.

        Returns:
            `[1, nodes, heads, head_dim]`, in the dtype of query.
        """


@dataclass(frozen=True)
class _Block:
    """Consecutive queries of a row and the keys that at least one of them may see."""

    start: int  # first query, counted from the row's start
    stop: int
    keys: torch.Tensor | None  # among [path | nodes], [keys]; None when they are the first ones without a gap
    key_count: int
    mask: torch.Tensor  # [queries, keys]: bool for RoPE; for ALiBi float32 depth differences, -inf where hidden


class BlockwiseAttention:
    """Blocks of consecutive queries, each with the keys it can see, through scaled_dot_product_attention.

    The keys of a block are the ancestors of its first node and the block itself: an ancestor of any of its nodes that
    lies before the block is an ancestor of the first. So what is masked out in vain is within one block.
    """

    def __init__(self, trie: TokenTrie, row: Row, *, alibi: bool, device: torch.device) -> None:
        """Lays out the blocks of a row, once for all layers."""
        keys = row.keys
        path = len(row.path)
        self._blocks = []
        for start in range(0, len(row), BLOCK):
            stop = min(start + BLOCK, len(row))
            before = ancestors_within(trie, keys[: path + start], row.start + start)
            chosen = np.concatenate([before, np.arange(path + start, path + stop)])
            gapless = len(chosen) == path + stop
            self._blocks.append(
                _Block(
                    start=start,
                    stop=stop,
                    keys=None if gapless else torch.from_numpy(chosen).to(device),
                    key_count=len(chosen),
                    mask=_mask(trie, np.arange(row.start + start, row.start + stop), keys[chosen], alibi, device),
                )
            )

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, slopes: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        """See `Attend`."""
        _, heads, nodes, head_dim = query.shape
        out = query.new_empty(1, nodes, heads, head_dim)
        for block in self._blocks:
            if block.keys is None:
                block_key, block_value = key[:, :, : block.key_count], value[:, :, : block.key_count]
            else:
                block_key, block_value = key.index_select(2, block.keys), value.index_select(2, block.keys)
            attended = _sdpa(query[:, :, block.start : block.stop], block_key, block_value, block.mask, slopes, scaling)
            out[:, block.start : block.stop] = attended.transpose(1, 2)
        return out


class DenseAttention:
    """One mask over all queries and keys of the row. Simple, and memory grows with the square of the row."""

    def __init__(self, trie: TokenTrie, row: Row, *, alibi: bool, device: torch.device) -> None:
        """Builds the mask of a row, once for all layers."""
        self._mask = _mask(trie, np.arange(row.start, row.stop), row.keys, alibi, device)

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, slopes: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        """See `Attend`."""
        return _sdpa(query, key, value, self._mask, slopes, scaling).transpose(1, 2).to(query.dtype)


def _mask(
    trie: TokenTrie, queries: np.ndarray[Any, Any], keys: np.ndarray[Any, Any], alibi: bool, device: torch.device
) -> torch.Tensor:
    """What `_Block.mask` holds, for nodes given by their index in the trie."""
    seen = torch.from_numpy(visible(queries[:, None], keys, trie.end[keys]))
    if alibi:
        distance = torch.from_numpy(trie.depth[keys] - trie.depth[queries][:, None]).float()
        seen = distance.masked_fill_(~seen, -torch.inf)
    return seen.to(device)


def _sdpa(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    mask: torch.Tensor,
    slopes: torch.Tensor | None,
    scaling: float,
) -> torch.Tensor:
    """scaled_dot_product_attention with `_Block.mask`; `[1, heads, queries, head_dim]`, float32 for ALiBi."""
    if slopes is not None:
        # The bias must meet the scores in float32, and this function takes queries and bias of one dtype.
        # With all four axes: given three, the CPU leaves its fused kernel for one that takes thrice the memory.
        mask = (slopes[:, None, None] * mask)[None]
        query, key, value = query.float(), key.float(), value.float()
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=scaling, enable_gqa=grouped)


class RowAttention:
    """What one row's forward pass carries to every attention layer: how to attend, and the path's keys and values."""

    def __init__(
        self, kind: Callable[..., Attend], trie: TokenTrie, row: Row, cache: PathCache, *, alibi: bool
    ) -> None:
        """Prepares a row.

        Args:
            kind: Makes the attention of a row on a device: one of the classes here, or FlexAttention.
            trie: The trie.
            row: The row.
            cache: Where the path's keys and values are.
            alibi: Whether the model's positions are ALiBi.
        """
        self._kind, self._trie, self._row, self._cache, self._alibi = kind, trie, row, cache, alibi
        # Layers may lie on several devices; each device gets its own copy of masks and indices.
        self._on: dict[torch.device, tuple[Attend, torch.Tensor]] = {}

    def attend(
        self,
        layer: int,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        slopes: torch.Tensor | None,
        scaling: float,
    ) -> torch.Tensor:
        """Attention of one layer; shapes as in `Attend`, with key and value of the row's own nodes only."""
        if (slopes is not None) != self._alibi:
            raise UnsupportedModelError(f"Layer {layer} disagrees with the first layer on whether positions are ALiBi.")
        device = query.device
        if device not in self._on:
            attend = self._kind(self._trie, self._row, alibi=self._alibi, device=device)
            self._on[device] = attend, torch.from_numpy(self._row.keep).to(device)
        attend, keep = self._on[device]
        key, value = self._cache.extend(layer, key, value, keep)
        return attend(query, key, value, slopes, scaling)


_running: ContextVar[RowAttention] = ContextVar("row of the token trie")


@contextmanager
def running(row: RowAttention) -> Iterator[None]:
    """Every attention layer that runs inside this block attends by this row.

    Not a keyword of the model's forward: some models hand no keywords on to their layers, and none should swallow one.
    """
    token = _running.set(row)
    try:
        yield
    finally:
        _running.reset(token)


def trie_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """The attention function registered with transformers; called by every attention layer of the model.

    Args:
        module: The attention layer: `layer_idx` numbers it, `alibi_slopes`, where there is one, makes it ALiBi.
        query: Rotated queries of the row's nodes, `[1, heads, nodes, head_dim]`.
        key: Rotated keys, `[1, kv_heads, nodes, head_dim]`.
        value: Values, `[1, kv_heads, nodes, head_dim]`.
        attention_mask: None; the row knows what is visible.
        scaling: Factor on the scores.
        kwargs: Whatever else the model passes.

    Returns:
        Attended values, `[1, nodes, heads, head_dim]`, and None for the weights.

    Raises:
        UnsupportedModelError: The layer asks for an attention that the trie does not compute.
    """
    asked = [name for name in _UNSUPPORTED if kwargs.get(name) is not None]
    if asked or attention_mask is not None:
        raise UnsupportedModelError(
            f"{type(module).__name__} asks for {', '.join(asked) or 'a mask of its own'}, "
            "which the token trie does not compute. Use trie=False."
        )
    slopes = getattr(module, "alibi_slopes", None)
    slopes = None if slopes is None else slopes.to(query.device)  # an off-loaded layer computes elsewhere
    return _running.get().attend(int(module.layer_idx), query, key, value, slopes, scaling), None  # type: ignore[arg-type]
