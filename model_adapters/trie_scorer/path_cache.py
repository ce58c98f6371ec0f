"""The keys and values of the path from the root to the cut: all that one row hands to the next."""

from typing import NamedTuple

import torch


class KeyValue(NamedTuple):
    """Keys `[1, kv_heads, tokens, head_dim]` and values `[1, kv_heads, tokens, value_dim]` of the same tokens."""

    key: torch.Tensor
    value: torch.Tensor


class PathCache:
    """Keys and values of the cut's ancestors for each attention call; at most `max_length` tokens of whatever requests.

    Each call has one memory, to whose end the next row's part of the path is added: what stays of the path stays where
    it is. A row stages that part while it runs and commits it when it is done, so that a row that ran out of memory
    halfway can be run again, shorter.
    """

    def __init__(self) -> None:
        """Starts at the root, with nothing kept."""
        self.tokens = 0
        """How many tokens are kept."""
        self._memory: dict[int, KeyValue] = {}
        self._staged: dict[int, KeyValue] = {}
        self._stay = 0

    def extend(self, call: int, nodes: KeyValue, stay: int, added: torch.Tensor) -> KeyValue:
        """Gives the kept path, and stages what to keep for the next row.

        Args:
            call: Number of the attention call within the row.
            nodes: Of the row's own nodes.
            stay: How many tokens of the path are the next path's first ones.
            added: Which of the row's nodes are the others, `[added]`, on the device of `nodes`.

        Returns:
            Of the path; views of memory that stays as it is until the commit.
        """
        needed = max(self.tokens, stay + len(added))
        memory = self._memory.get(call)
        if memory is None or memory.key.shape[2] < needed:
            # Here, not at the commit, where lack of memory could not be met by a shorter row.
            before = memory or KeyValue(*(each[:, :, :0] for each in nodes))
            memory = self._memory[call] = KeyValue(*(_longer(each, needed + needed // 8) for each in before))
        self._stay = stay
        self._staged[call] = KeyValue(*(each.index_select(2, added) for each in nodes))
        return KeyValue(*(each[:, :, : self.tokens] for each in memory))

    @torch.inference_mode()
    def commit(self) -> None:
        """What was staged becomes the end of the path."""
        for call, staged in self._staged.items():
            self.tokens = self._stay + staged.key.shape[2]
            for memory, added in zip(self._memory[call], staged, strict=True):
                memory[:, :, self._stay : self.tokens] = added
        self._staged = {}

    def discard(self) -> None:
        """Forgets what was staged; the path is what it was before the row."""
        self._staged = {}


def _longer(memory: torch.Tensor, tokens: int) -> torch.Tensor:
    """Memory for more tokens that begins as the old one does."""
    _, heads, before, dim = memory.shape
    longer = memory.new_empty(1, heads, tokens, dim)
    longer[:, :, :before] = memory
    return longer
