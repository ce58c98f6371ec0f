"""KV caches whose layers keep windows or states, and several of them joined to that of one batch.

Padding between a common beginning and what follows would move windows and change states. So what follows is run row by
row behind the beginning, without padding, and the rows are joined to what the model would have kept of the whole batch
padded from the left.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from transformers import DynamicCache

from ..hosts.transformers import (
    DummyLayer,
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
    LinearAttentionLayer,
)

_KNOWN = (
    *([] if DummyLayer is None else [DummyLayer]),
    DynamicLayer,
    DynamicSlidingWindowLayer,
    LinearAttentionLayer,
    LinearAttentionAndFullAttentionLayer,
    LinearAttentionAndSlidingWindowAttentionLayer,
)


def joinable(cache: Any) -> bool:
    """Return whether `join` knows every layer of a cache, and one of them at least counts its tokens."""
    return (
        type(cache) is DynamicCache
        and all(type(layer) in _KNOWN for layer in cache.layers)
        and any(isinstance(layer, DynamicLayer) for layer in cache.layers)
    )


def join(caches: Sequence[DynamicCache], tokens: Sequence[int]) -> DynamicCache:
    """Joins caches of a few rows each to one, whose shorter rows are padded from the left.

    Args:
        caches: Of the same model, each of rows that have no padding; they stay as they are.
        tokens: How many tokens the rows of each have.

    Returns:
        A cache of all rows, in order, as if each had as many tokens as the longest.
    """
    joined = copy.copy(caches[0])
    joined.layers = [
        _joined([cache.layers[number] for cache in caches], max(tokens)) for number in range(len(caches[0].layers))
    ]
    return joined


def _joined(layers: Sequence[Any], tokens: int) -> Any:
    joined = copy.copy(layers[0])
    if isinstance(joined, DynamicLayer) and joined.is_initialized:
        joined.keys = _left_padded([layer.keys for layer in layers])
        joined.values = _left_padded([layer.values for layer in layers])
        if isinstance(joined, DynamicSlidingWindowLayer):
            joined.cumulative_length = tokens
    if isinstance(joined, LinearAttentionLayer):
        for kept in ("conv_states", "recurrent_states"):
            of_rows = [getattr(layer, kept) for layer in layers]
            states = {
                number: None if state is None else torch.cat([states[number] for states in of_rows])
                for number, state in of_rows[0].items()
            }
            setattr(joined, kept, states)
        joined.has_previous_state = dict(joined.has_previous_state)
    return joined


def _left_padded(parts: Sequence[torch.Tensor]) -> torch.Tensor:
    """Keys or values of some rows each, `[rows, kv_heads, kept, width]`, in one: each in the last places, zeros before.

    Under a window each row keeps the last tokens only, and the longest as many as the window takes: the last places of
    a shorter one are what the window has of it behind its padding.
    """
    kept = max(part.shape[-2] for part in parts)
    return torch.cat([torch.nn.functional.pad(part, (0, 0, kept - part.shape[-2], 0)) for part in parts])
