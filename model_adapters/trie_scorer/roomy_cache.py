"""Keys and values with room behind them, so that a token more is written there and nothing is copied.

Transformers' own layer copies all that it keeps with each token, which takes longer than the token itself where a batch
has long prompts.
"""

from __future__ import annotations

from typing import Any

import torch

from ..hosts.transformers import DynamicLayer

ROOM = 64
"""Tokens: what has no room any more is copied once to where it has as much again."""


class RoomyLayer(DynamicLayer):
    """What one layer keeps of every token of a batch; in all else transformers' own.

    Args:
        keys: Of the tokens that all rows begin with, `[1, kv_heads, tokens, head_dim]`; never changed.
        values: The same, `[1, kv_heads, tokens, value_dim]`.
        rows: The rows of the batch.
    """

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, rows: int) -> None:
        """Copies nothing yet."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.dtype, self.device, self.is_initialized = keys.dtype, keys.device, True
        self.keys = keys.expand(rows, -1, -1, -1)
        self.values = values.expand(rows, -1, -1, -1)
        self._key_room = self._value_room = keys.new_empty(0)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Adds tokens, `[rows, kv_heads, tokens, width]`, and returns all of them."""
        if self.keys is None or self.values is None:  # after a reset
            return super().update(key_states, value_states, *args, **kwargs)
        self.keys, self._key_room = _added(self.keys, key_states, self._key_room)
        self.values, self._value_room = _added(self.values, value_states, self._value_room)
        return self.keys, self.values


def _added(kept: torch.Tensor, new: torch.Tensor, room: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """What is kept with what is new behind it, and the memory that both begin, where there is room for more."""
    length, total = kept.shape[-2], kept.shape[-2] + new.shape[-2]
    begins_there = kept.data_ptr() == room.data_ptr() and kept.stride() == room.stride()  # not after a selection
    if not begins_there or len(kept) != len(room) or total > room.shape[-2]:
        room = new.new_empty(*new.shape[:-2], total + ROOM, new.shape[-1])
        room[..., :length, :] = kept
    room[..., length:total, :] = new
    return room[..., :total, :], room
