"""Attention over a row of the trie, two of the four exact ways (`merged_attention` and `flex` are the others).

Every way computes softmax(scores) v over the keys `[path | nodes]` that the rule of the trie and the layer's own mask
make visible, where a score is q k times a factor; softcapped where the layer asks (Gemma 2, arXiv:2408.00118); less
slope * (depth of query - depth of key) for ALiBi (Press et al. 2022, arXiv:2108.12409); and where there are sinks, one
more score a head takes its share of the softmax and gives nothing (as in gpt-oss). All that is added in float32,
whatever the model's dtype: in bfloat16 an ALiBi bias rounds to steps that move benchmark scores.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F

from .masks import LayerMask
from .path_cache import KeyValue
from .trie import Row, TokenTrie, ancestors_within, visible

# Queries of one block; a block's keys are its ancestors and itself, so a larger block wastes more work on hidden keys
# and a smaller one repeats more of the path. 64 to 256 differ by a few percent on CPU.
BLOCK = 128


@dataclass(frozen=True)
class ScoreRule:
    """How a layer turns q k into scores.

    Attributes:
        scaling: Factor on q k.
        slopes: ALiBi's slope of each head, `[heads]`, float32; None without ALiBi.
        softcap: Scores become softcap * tanh(score / softcap); None without.
        sinks: One more score of each head, `[heads]`, which takes part in the softmax alone; None without.
    """

    scaling: float
    slopes: torch.Tensor | None = None
    softcap: float | None = None
    sinks: torch.Tensor | None = None


class Attend(Protocol):
    """Attention over one row, for layers with one mask on one device."""

    def __call__(self, query: torch.Tensor, path: KeyValue, nodes: KeyValue, rule: ScoreRule) -> torch.Tensor:
        """Attends.

        Args:
            query: `[1, heads, nodes, head_dim]`.
            path: Keys and values of the path.
            nodes: Keys and values of the row's own nodes.
            rule: How scores are made.

        Returns:
            `[1, nodes, heads, value_dim]`, in the dtype of query.
        """


@dataclass(frozen=True)
class _Block:
    """Consecutive queries of a row and the keys that at least one of them may see."""

    start: int  # first query, counted from the row's start
    stop: int
    keys: torch.Tensor | None  # among [path | nodes], [keys]; None when they are the first ones without a gap
    key_count: int
    mask: torch.Tensor  # [queries, keys]: bool; for ALiBi float32 depth differences, -inf where hidden


class BlockwiseAttention:
    """Blocks of consecutive queries, each with the keys it can see, through scaled_dot_product_attention.

    The keys of a block are the ancestors of its first node and the block itself: an ancestor of any of its nodes that
    lies before the block is an ancestor of the first. So what is masked out in vain is within one block. Of a layer
    with a window, only the keys that some query of the block sees.
    """

    def __init__(self, trie: TokenTrie, row: Row, mask: LayerMask, *, alibi: bool, device: torch.device) -> None:
        """Lays out the blocks of a row, once for all layers of one mask."""
        keys = row.keys
        path = len(row.path)
        self._blocks = []
        for start in range(0, len(row), BLOCK):
            stop = min(start + BLOCK, len(row))
            before = ancestors_within(trie, keys[: path + start], row.start + start)
            chosen = np.concatenate([before, np.arange(path + start, path + stop)])
            queries = np.arange(row.start + start, row.start + stop)
            seen = _seen(trie, queries, keys[chosen], mask)
            if not mask.plain:
                used = seen.any(dim=0).numpy()
                seen, chosen = seen[:, used], chosen[used]
            gapless = len(chosen) == path + stop
            self._blocks.append(
                _Block(
                    start=start,
                    stop=stop,
                    keys=None if gapless else torch.from_numpy(chosen).to(device),
                    key_count=len(chosen),
                    mask=(_distance(trie, queries, keys[chosen], seen) if alibi else seen).to(device),
                )
            )

    def __call__(self, query: torch.Tensor, path: KeyValue, nodes: KeyValue, rule: ScoreRule) -> torch.Tensor:
        """See `Attend`."""
        key, value = _together(path, nodes)
        _, heads, tokens, _ = query.shape
        out = query.new_empty(1, tokens, heads, value.shape[-1])
        for block in self._blocks:
            if block.keys is None:
                block_key, block_value = key[:, :, : block.key_count], value[:, :, : block.key_count]
            else:
                block_key, block_value = key.index_select(2, block.keys), value.index_select(2, block.keys)
            attended = _attend(query[:, :, block.start : block.stop], block_key, block_value, block.mask, rule)
            out[:, block.start : block.stop] = attended.transpose(1, 2)
        return out


class DenseAttention:
    """One mask over all queries and keys of the row. Simple, and memory grows with the square of the row."""

    def __init__(self, trie: TokenTrie, row: Row, mask: LayerMask, *, alibi: bool, device: torch.device) -> None:
        """Builds the mask of a row, once for all layers of one mask."""
        queries = np.arange(row.start, row.stop)
        seen = _seen(trie, queries, row.keys, mask)
        self._mask = (_distance(trie, queries, row.keys, seen) if alibi else seen).to(device)

    def __call__(self, query: torch.Tensor, path: KeyValue, nodes: KeyValue, rule: ScoreRule) -> torch.Tensor:
        """See `Attend`."""
        key, value = _together(path, nodes)
        return _attend(query, key, value, self._mask, rule).transpose(1, 2).to(query.dtype)


_Nodes = np.ndarray[Any, Any]  # indices into the trie


def _together(path: KeyValue, nodes: KeyValue) -> KeyValue:
    """Of `[path | nodes]`."""
    return KeyValue(*(torch.cat(each, dim=2) for each in zip(path, nodes, strict=True)))


def _seen(trie: TokenTrie, queries: _Nodes, keys: _Nodes, mask: LayerMask) -> torch.Tensor:
    """Which keys each query sees, `[queries, keys]`, bool, CPU."""
    seen = visible(queries[:, None], keys, trie.end[keys])
    if not mask.plain:
        seen &= trie.depth[keys] >= mask.first_seen(trie.depths)[trie.depth[queries]][:, None]
    return torch.from_numpy(seen)


def _distance(trie: TokenTrie, queries: _Nodes, keys: _Nodes, seen: torch.Tensor) -> torch.Tensor:
    """What `_Block.mask` holds for ALiBi."""
    distance = torch.from_numpy(trie.depth[keys] - trie.depth[queries][:, None]).float()
    return distance.masked_fill_(~seen, -torch.inf)


def _attend(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, rule: ScoreRule
) -> torch.Tensor:
    """Attention with `_Block.mask`; `[1, heads, queries, value_dim]`, float32 or the dtype of query."""
    if rule.softcap is not None or rule.sinks is not None:
        return _attend_by_scores(query, key, value, mask, rule)
    if rule.slopes is not None:
        # The bias must meet the scores in float32, and this function takes queries and bias of one dtype.
        # With all four axes: given three, the CPU leaves its fused kernel for one that takes thrice the memory.
        mask = (rule.slopes[:, None, None] * mask)[None]
        query, key, value = query.float(), key.float(), value.float()
    grouped = query.shape[1] != key.shape[1]
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=rule.scaling, enable_gqa=grouped)


def _attend_by_scores(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor, rule: ScoreRule
) -> torch.Tensor:
    """What the fused function does not offer: `_attend` with a softcap or sinks, scores and softmax in float32."""
    groups = (key.shape[1], query.shape[1] // key.shape[1])  # heads share keys and values in groups
    scores = query.float().unflatten(1, groups) @ key.float().mT.unsqueeze(2) * rule.scaling
    if rule.softcap is not None:
        scores = rule.softcap * torch.tanh(scores / rule.softcap)
    if rule.slopes is not None:
        scores = scores + rule.slopes.view(*groups, 1, 1) * mask
    else:
        scores = scores.masked_fill(~mask, -torch.inf)
    if rule.sinks is not None:
        sinks = rule.sinks.float().view(1, *groups, 1, 1).expand(*scores.shape[:-1], 1)
        weights = torch.cat([scores, sinks], dim=-1).softmax(dim=-1)[..., :-1]
    else:
        weights = scores.softmax(dim=-1)
    return (weights @ value.float().unsqueeze(2)).flatten(1, 2)
