"""FlexAttention over a row of the trie: the fused kernel for GPUs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch.nn.attention.flex_attention import BlockMask, flex_attention

from .trie import Row, TokenTrie, visible

_TILE = 128


@functools.cache
def _compiled() -> Callable[..., Any]:
    # Every row is padded to one shape, so one compilation serves a run. fullgraph makes a fall-back to the unfused form
    # (after too many recompilations, say) an error.
    return torch.compile(flex_attention, dynamic=False, fullgraph=True)


class FlexAttention:
    """One fused kernel over the row; tiles of keys that no query of a tile may see are skipped.

    Queries and keys are padded to the largest row there may be; tiles of padding alone are never run. Scores, bias and
    softmax are float32 inside the kernel: ALiBi is exact in low precision too.
    """

    def __init__(
        self, trie: TokenTrie, row: Row, *, alibi: bool, device: torch.device, most_queries: int, most_keys: int
    ) -> None:
        """Lays out the tiles of a row, once for all layers.

        Args:
            trie: The trie.
            row: The row.
            alibi: Not needed here; the slopes come with each layer.
            device: Where the layer is.
            most_queries: Nodes in the longest row.
            most_keys: Keys in the longest row, its path included.
        """
        self._queries, self._keys = -(-most_queries // _TILE) * _TILE, -(-most_keys // _TILE) * _TILE
        keys = row.keys

        def padded(values: NDArray[np.integer], size: int, fill: int) -> torch.Tensor:
            return F.pad(torch.from_numpy(values).to(device, torch.int32), (0, size - len(values)), value=fill)

        self._key = padded(keys, self._keys, torch.iinfo(torch.int32).max)
        self._key_end = padded(trie.end[keys], self._keys, 0)
        self._key_depth = padded(trie.depth[keys], self._keys, 0)
        self._query = padded(keys[len(row.path) :], self._queries, -1)
        self._query_depth = padded(trie.depth[row.start : row.stop], self._queries, 0)
        self._block_mask = self._tiles()

    def _tiles(self) -> BlockMask:
        """The block mask, from `[query tiles, keys]` comparisons; the mask itself is never built."""
        tiles = self._query.view(-1, _TILE)
        first = tiles[:, :1]
        last = tiles.amax(dim=1, keepdim=True) + 1  # one past the tile's last query; 0 where all are padding
        touched = torch.maximum(first, self._key) < torch.minimum(last, self._key_end)
        whole = (self._key <= first) & (self._key_end >= last)  # of padding's queries the result is thrown away
        touched = touched.unflatten(1, (-1, _TILE)).any(-1)
        whole = whole.unflatten(1, (-1, _TILE)).all(-1)
        partial = touched & ~whole

        query, key, key_end = self._query, self._key, self._key_end

        def mask(batch: torch.Tensor, head: torch.Tensor, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
            return visible(query[q], key[k], key_end[k])  # type: ignore[no-any-return]

        return BlockMask.from_kv_blocks(
            *_counts_and_indices(partial),
            *_counts_and_indices(whole),
            BLOCK_SIZE=_TILE,
            mask_mod=mask,
            seq_lengths=(self._queries, self._keys),
            compute_q_blocks=False,  # only a backward pass needs them
        )

    def __call__(
        self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, slopes: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        """See `attention.Attend`."""
        score_mod = None
        if slopes is not None:
            query_depth, key_depth = self._query_depth, self._key_depth

            def score_mod(
                score: torch.Tensor, b: torch.Tensor, h: torch.Tensor, q: torch.Tensor, k: torch.Tensor
            ) -> Any:
                return score - slopes[h] * (query_depth[q] - key_depth[k])

        grouped = query.shape[1] != key.shape[1]
        nodes = query.shape[2]
        query = F.pad(query, (0, 0, 0, self._queries - nodes))
        key, value = (F.pad(tensor, (0, 0, 0, self._keys - tensor.shape[2])) for tensor in (key, value))
        out: torch.Tensor = _compiled()(
            query, key, value, score_mod=score_mod, block_mask=self._block_mask, scale=scaling, enable_gqa=grouped
        )
        return out[:, :, :nodes].transpose(1, 2)


def _counts_and_indices(tiles: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """How many key tiles each query tile has and which, those first: `[1, 1, query tiles]`, `[..., key tiles]`."""
    indices = tiles.to(torch.int8).argsort(dim=1, descending=True, stable=True)
    return tiles.sum(1, dtype=torch.int32)[None, None], indices.to(torch.int32)[None, None]
