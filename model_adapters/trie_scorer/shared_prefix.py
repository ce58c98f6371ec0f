"""Prompts that begin alike, as few-shot prompts do, and their common beginning run once before text is generated.

A batch stands as `[prefix | padding | rest]` instead of `[padding | prefix | rest]`: so the keys and values of the
prefix are the same in every row, and every width stays what it was.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from ..hosts.accelerate import input_device
from ..hosts.transformers import CACHE_KEYWORD, DynamicLayer
from .refusals import decoder_of, plain_model
from .trie.build import TokenIds

LEAST = 32
"""Tokens: a shorter common beginning is not worth the copies of its cache."""


@dataclass(frozen=True)
class Alike:
    """Sequences with a common beginning.

    Attributes:
        members: Their numbers, ascending.
        prefix: The tokens that all of them begin with, `[tokens]`; empty for those that share nothing.
    """

    members: tuple[int, ...]
    prefix: NDArray[np.int64]


def alike(sequences: Sequence[TokenIds], least: int = LEAST) -> list[Alike]:
    """Groups sequences by common beginnings, so that as many tokens as possible are shared.

    One token of each sequence at least stays outside of its group's beginning, for the logits after it.

    Args:
        sequences: Token ids.
        least: The fewest tokens of a common beginning.

    Returns:
        The groups of two or more, and in the end one without a prefix with all others, if there are any.
    """
    ids = [np.asarray(sequence, dtype=np.int64) for sequence in sequences]
    order = sorted(range(len(ids)), key=lambda number: ids[number].tolist())
    # The tree of all common beginnings, bottom-up: sequences in order, and what each shares with the one before it.
    open_nodes = [_Node(0)]
    for place, number in enumerate(order):
        node = _Node(len(ids[number]), alone=[number])
        following = order[place + 1] if place + 1 < len(order) else None
        shared = 0 if following is None else _common(ids[number], ids[following])
        while open_nodes[-1].length > shared:
            open_nodes[-1].add(node)
            node = open_nodes.pop().settled(least)
        if open_nodes[-1].length < shared:
            open_nodes.append(_Node(shared))
        open_nodes[-1].add(node)
    root = open_nodes[0]
    groups = [Alike(tuple(sorted(members)), ids[members[0]][:length]) for members, length in root.groups]
    return groups + ([Alike(tuple(sorted(root.alone)), np.empty(0, dtype=np.int64))] if root.alone else [])


@dataclass
class _Node:
    """The sequences with one common beginning: how they are best grouped below it."""

    length: int
    saved: int = 0
    groups: list[tuple[list[int], int]] = field(default_factory=list)
    alone: list[int] = field(default_factory=list)

    def add(self, below: _Node) -> None:
        """Takes what was found of some of its sequences."""
        self.saved += below.saved
        self.groups += below.groups
        self.alone += below.alone

    def settled(self, least: int) -> _Node:
        """Makes one group of all its sequences where that shares more than the groups of longer beginnings do."""
        members = [*(member for members, _ in self.groups for member in members), *self.alone]
        if self.length >= least and self.length * (len(members) - 1) >= self.saved:
            return _Node(self.length, self.length * (len(members) - 1), [(members, self.length)])
        return self


def _common(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many tokens two sequences may share: their common beginning, but never all of one."""
    length = max(0, min(len(one), len(other)) - 1)
    differs = one[:length] != other[:length]
    return int(differs.argmax()) if differs.any() else length


class SharedPrefix:
    """A common beginning, and what a model keeps of it.

    Args:
        model: A causal language model of transformers, or a peft model around one.
        prefix: Token ids, `[tokens]`.
    """

    def __init__(self, model: Any, prefix: TokenIds) -> None:
        """Runs nothing yet."""
        self._model = plain_model(model)
        self._prefix = torch.as_tensor(np.asarray(prefix, dtype=np.int64))
        self._cache: Any = None

    def arrange(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor] | None:
        """Moves a batch's padding behind the common beginning.

        Args:
            ids: Token ids, padded from the left, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.

        Returns:
            The same, moved; None where a row begins otherwise, or has nothing after the beginning.
        """
        length = len(self._prefix)
        prefix = self._prefix.to(ids.device)
        moved_ids, moved_mask = ids.clone(), mask.clone()
        for row in range(len(ids)):
            padding = int((mask[row] == 0).sum())
            begins = ids[row, padding : padding + length]
            if padding + length >= ids.shape[1] or not torch.equal(begins, prefix):
                return None
            moved_ids[row, length : length + padding] = ids[row, :padding]
            moved_ids[row, :length] = prefix
            moved_mask[row, :length] = 1
            moved_mask[row, length : length + padding] = 0
        return moved_ids, moved_mask

    def __len__(self) -> int:
        """The number of its tokens."""
        return len(self._prefix)

    def run(self) -> bool:
        """Runs the prefix, unless that was done.

        Returns:
            Whether what the model keeps of it is keys and values of every token in every layer, and nothing else: only
            those stay right when padding follows.
        """
        if self._cache is None:
            ids = self._prefix[None].to(input_device(self._model))
            with torch.inference_mode():
                self._cache = decoder_of(self._model)(input_ids=ids, use_cache=True)[CACHE_KEYWORD]
        return type(self._cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in self._cache.layers)

    def cache(self, rows: int) -> Any:
        """A copy of the prefix's keys and values for each row of a batch, which may be added to."""
        self.run()
        copied = copy.deepcopy(self._cache)
        copied.batch_repeat_interleave(rows)
        return copied
