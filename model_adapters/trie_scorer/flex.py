"""FlexAttention over a row of the trie: the fused kernel for GPUs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from .attention import ScoreRule
from .masks import LayerMask
from .path_cache import KeyValue
from .trie import Row, TokenTrie, visible

_TILE = 128


@functools.cache
def _compiled(kind: tuple[Any, ...]) -> Callable[..., Any]:
    """The kernel for one kind of call: rows are padded to one shape, so one compilation serves a run.

    The compiler gives up on a function that it was asked to compile more than a few times, which halved rows, several
    models or several devices would come to. So each kind of call has a function, and a code object, of its own.
    """

    def attend(*arguments: Any, **options: Any) -> Any:
        return flex_attention(*arguments, **options)

    attend.__code__ = attend.__code__.replace(co_name=f"attend_{abs(hash(kind))}")
    # fullgraph makes a fall-back to the unfused form an error.
    return torch.compile(attend, dynamic=False, fullgraph=True)


class Layout:
    """The one shape that all rows of a run are padded to, and the memory that keys and values are laid out in.

    The last place among the keys is kept free for the sinks.
    """

    def __init__(self, most_queries: int, most_keys: int) -> None:
        """Takes the sizes.

        Args:
            most_queries: Nodes in the longest row.
            most_keys: Keys in the longest row, its path included.
        """
        self.most_queries = most_queries
        self.queries = -(-most_queries // _TILE) * _TILE
        self.keys = -(-(most_keys + 1) // _TILE) * _TILE
        self._laid_out: dict[tuple[Any, ...], torch.Tensor] = {}

    def lay_out(self, role: str, *tensors: torch.Tensor) -> torch.Tensor:
        """Copies tensors `[1, heads, tokens, dim]`, one behind the other, to the start of the memory for their role.

        What was there before remains behind them: finite numbers that the mask hides.

        Returns:
            The memory, `[1, heads, queries or keys, dim]`.
        """
        _, heads, _, dim = tensors[-1].shape
        size = self.queries if role == "query" else self.keys
        place = role, tensors[-1].device, tensors[-1].dtype, heads, dim
        if place not in self._laid_out:
            self._laid_out[place] = tensors[-1].new_zeros(1, heads, size, dim)
        start = 0
        for tensor in tensors:
            self._laid_out[place][:, :, start : start + tensor.shape[2]] = tensor
            start += tensor.shape[2]
        return self._laid_out[place]


class FlexAttention:
    """One fused kernel over the row; tiles of keys that no query of a tile may see are skipped.

    Queries and keys are padded to the largest row there may be; tiles of padding alone are never run. Scores, bias and
    softmax are float32 inside the kernel: ALiBi is exact in low precision too. Sinks are one more key, whose score is
    set and whose value is zero. That is exact inside the kernel, where scaling its result by the log-sum-exp would
    round twice; and the kernel for the CPU, on which this is tested, does not return the log-sum-exp.
    """

    def __init__(
        self, trie: TokenTrie, row: Row, mask: LayerMask, *, alibi: bool, device: torch.device, layout: Layout
    ) -> None:
        """Lays out the tiles of a row, once for all layers of one mask.

        Args:
            trie: The trie.
            row: The row.
            mask: What the layers see.
            alibi: Not needed here; the slopes come with each layer.
            device: Where the layers are.
            layout: The shape that the row is padded to.
        """
        self._layout = layout
        keys = row.keys
        depth = trie.depth[row.start : row.stop]

        def padded(values: NDArray[np.integer], size: int, fill: int) -> torch.Tensor:
            return F.pad(torch.from_numpy(values).to(device, torch.int32), (0, size - len(values)), value=fill)

        self._key = padded(keys, layout.keys, torch.iinfo(torch.int32).max)
        self._key_end = padded(trie.end[keys], layout.keys, 0)
        self._key_depth = padded(trie.depth[keys], layout.keys, 0)
        self._query = padded(keys[len(row.path) :], layout.queries, -1)
        self._query_depth = padded(depth, layout.queries, 0)
        # The depth of the first key that a query's own layer lets it see: of any mask only numbers reach the kernel,
        # so that one compilation serves all kinds of layers.
        self._first = padded(mask.first_seen(trie.depths)[depth], layout.queries, 0)
        self._block_masks: dict[bool, BlockMask] = {}

    def _tiles(self, *, sinks: bool) -> BlockMask:
        """The block mask, from `[query tiles, keys]` comparisons; the mask itself is never built."""
        tiles = self._query.view(-1, _TILE)
        first = tiles[:, :1]
        last = tiles.amax(dim=1, keepdim=True) + 1  # one past the tile's last query; 0 where all are padding
        window = self._first.view(-1, _TILE)
        real = tiles >= 0
        nearest = window.masked_fill(~real, torch.iinfo(torch.int32).max).amin(dim=1, keepdim=True)
        touched = torch.maximum(first, self._key) < torch.minimum(last, self._key_end)
        touched &= self._key_depth >= nearest
        whole = (self._key <= first) & (self._key_end >= last)  # of padding's queries the result is thrown away
        whole &= self._key_depth >= window.amax(dim=1, keepdim=True)
        touched = touched.unflatten(1, (-1, _TILE)).any(-1)
        whole = whole.unflatten(1, (-1, _TILE)).all(-1)
        if sinks:
            touched[:, -1] |= real.any(dim=1)
            whole[:, -1] = False
        partial = touched & ~whole

        query, key, key_end = self._query, self._key, self._key_end
        first_seen, key_depth, sink = self._first, self._key_depth, self._layout.keys - 1

        def mask(batch: torch.Tensor, head: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> Any:
            seen = visible(query[q], key[k], key_end[k]) & (key_depth[k] >= first_seen[q])
            return seen | (k == sink) if sinks else seen

        return BlockMask.from_kv_blocks(
            *_counts_and_indices(partial),
            *_counts_and_indices(whole),
            BLOCK_SIZE=_TILE,
            mask_mod=mask,
            seq_lengths=(self._layout.queries, self._layout.keys),
            compute_q_blocks=False,  # only a backward pass needs them
        )

    def _score_mod(self, rule: ScoreRule) -> Callable[..., Any] | None:
        """What the kernel does to each score; None where it does nothing."""
        slopes, softcap, sinks = rule.slopes, rule.softcap, rule.sinks
        if slopes is None and softcap is None and sinks is None:
            return None
        query_depth, key_depth, sink = self._query_depth, self._key_depth, self._layout.keys - 1

        def score_mod(score: torch.Tensor, b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> Any:
            if softcap is not None:
                score = softcap * torch.tanh(score / softcap)
            if slopes is not None:
                score = score - slopes[h] * (query_depth[q] - key_depth[k])
            if sinks is not None:
                score = torch.where(k == sink, sinks[h].to(score.dtype), score)
            return score

        return score_mod

    def __call__(self, query: torch.Tensor, path: KeyValue, nodes: KeyValue, rule: ScoreRule) -> torch.Tensor:
        """See `attention.Attend`."""
        sinks = rule.sinks is not None
        if sinks not in self._block_masks:
            self._block_masks[sinks] = self._tiles(sinks=sinks)
        padded_value = self._layout.lay_out("value", path.value, nodes.value)
        padded_value[:, :, -1] = 0
        padded_query = self._layout.lay_out("query", query)
        padded_key = self._layout.lay_out("key", path.key, nodes.key)
        shapes = (tuple(padded_query.shape), tuple(padded_key.shape), tuple(padded_value.shape))
        what = (rule.scaling, rule.softcap, rule.slopes is None, sinks)
        out: torch.Tensor = _compiled((*shapes, query.dtype, query.device, *what))(
            padded_query,
            padded_key,
            padded_value,
            score_mod=self._score_mod(rule),
            block_mask=self._block_masks[sinks],
            scale=rule.scaling,
            enable_gqa=query.shape[1] != nodes.key.shape[1],
        )
        return out[:, :, : query.shape[2]].transpose(1, 2)


def _counts_and_indices(tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many key tiles each query tile has and which, those first: `[1, 1, query tiles]`, `[..., key tiles]`."""
    indices = tiles.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return tiles.sum(1, dtype=torch.int32)[None, None], indices.to(torch.int32)[None, None]
