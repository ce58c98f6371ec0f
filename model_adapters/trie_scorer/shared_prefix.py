"""Prompts that begin alike, as few-shot prompts do, and their common beginning run once before text is generated.

Where every layer keeps the keys and values of every token, a batch stands as `[prefix | padding | rest]` instead of
`[padding | prefix | rest]`: so the keys and values of the prefix are the same in every row, and every width stays what
it was. Where layers keep windows or states, the rest of each row is run by itself, and the rows are joined afterwards.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import DynamicCache

from ..hosts.accelerate import input_device
from ..hosts.transformers import CACHE_KEYWORD, DynamicLayer
from .joined_cache import join, joinable
from .refusals import decoder_of, without_wrapper
from .roomy_cache import RoomyLayer
from .trie.build import TokenIds, common_prefix

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
    nodes = _tree(ids)
    _settle(nodes, least)
    groups, alone = [], list[int]()
    waiting = [(nodes[-1], 0, alone)]
    while waiting:
        node, above, members = waiting.pop()
        if above in node.opens:
            above, members = node.length, []
            groups.append((members, node.length))
        members += node.alone
        waiting += [(child, above, members) for child in reversed(node.children)]
    shared = [Alike(tuple(sorted(members)), ids[members[0]][:length]) for members, length in groups]
    return shared + ([Alike(tuple(sorted(alone)), np.empty(0, dtype=np.int64))] if alone else [])


@dataclass
class _Node:
    """The sequences with one common beginning.

    Attributes:
        length: Its tokens.
        alone: Sequences that share no longer one with any other.
        children: The longer beginnings that some of them share.
        above: The lengths of those around it that may be shared, and 0 for none.
        saved: By the length that is shared anyhow, the most tokens that its sequences can be spared.
        opens: The lengths shared anyhow besides which sharing this one too spares more.
    """

    length: int
    alone: list[int] = field(default_factory=list)
    children: list[_Node] = field(default_factory=list)
    above: list[int] = field(default_factory=lambda: [0])
    saved: dict[int, int] = field(default_factory=dict)
    opens: set[int] = field(default_factory=set)


def _tree(ids: Sequence[NDArray[np.int64]]) -> list[_Node]:
    """The common beginnings, each behind those that are longer; the last is the empty one."""
    order = sorted(range(len(ids)), key=lambda number: ids[number].tolist())
    done, open_ = [], [_Node(0)]
    for place, number in enumerate(order):
        after = _may_share(ids[number], ids[order[place + 1]]) if place + 1 < len(order) else 0
        if after > open_[-1].length:
            open_.append(_Node(after))
        open_[-1].alone.append(number)
        while open_[-1].length > after:
            node = open_.pop()
            done.append(node)
            if open_[-1].length < after:
                open_.append(_Node(after))
            open_[-1].children.append(node)
    return [*done, open_[0]]


def _settle(nodes: Sequence[_Node], least: int) -> None:
    """Finds which beginnings to share: m sequences that share `l` tokens are spared l m, and one runs the l."""
    for node in reversed(nodes):
        for child in node.children:
            child.above = [*node.above, *([node.length] if node.length >= least else [])]
    for node in nodes:

        def spared(length: int, node: _Node = node) -> int:
            return length * len(node.alone) + sum(child.saved[length] for child in node.children)

        opened = spared(node.length) - node.length if node.length >= least else 0
        node.saved = {length: max(spared(length), opened) for length in node.above}
        node.opens = {length for length in node.above if opened > spared(length)}


def _may_share(one: NDArray[np.int64], other: NDArray[np.int64]) -> int:
    """How many tokens two sequences may share: their common beginning, but never all of one."""
    return min(common_prefix(one, other), max(0, min(len(one), len(other)) - 1))


class Batch(NamedTuple):
    """A batch behind a common beginning, as `generate` takes it.

    Attributes:
        ids: Token ids, `[batch, tokens]`.
        mask: 1 for tokens, 0 for padding, `[batch, tokens]`.
        cache: What the model keeps of the first tokens.
    """

    ids: torch.Tensor
    mask: torch.Tensor
    cache: Any


class SharedPrefix:
    """A common beginning, and what a model keeps of it.

    Args:
        model: A causal language model of transformers, or a peft model around one.
        prefix: Token ids, `[tokens]`.
    """

    def __init__(self, model: Any, prefix: TokenIds) -> None:
        """Runs nothing yet.

        Raises:
            UnsupportedModelError: There is no model inside that could run it.
        """
        plain = without_wrapper(model)
        self._decoder, self._device = decoder_of(plain), input_device(plain)
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
            Whether a batch can go on behind what the model keeps of it.
        """
        if self._cache is None:
            with torch.inference_mode():
                self._cache = self._after(None, self._prefix[None])
        return self.keeps_every_token or joinable(self._cache)

    @property
    def keeps_every_token(self) -> bool:
        """Whether the model keeps keys and values of every token in every layer, and nothing else.

        Only those stay right when padding follows.
        """
        return type(self._cache) is DynamicCache and all(type(layer) is DynamicLayer for layer in self._cache.layers)

    def batch(self, ids: torch.Tensor, mask: torch.Tensor) -> Batch | None:
        """Puts a batch behind the common beginning.

        Args:
            ids: Token ids, padded from the left, `[batch, tokens]`.
            mask: 1 for tokens, 0 for padding, `[batch, tokens]`.

        Returns:
            The same batch; None where a row begins otherwise, or has nothing after the beginning.
        """
        arranged = self.arrange(ids, mask)
        if arranged is None or not self.run():
            return None
        if self.keeps_every_token:
            return Batch(*arranged, self.cache(len(ids)))
        return Batch(ids, mask, self._joined(ids, mask))

    @torch.no_grad()
    def _joined(self, ids: torch.Tensor, mask: torch.Tensor) -> Any:
        """What the model keeps of a batch before its last tokens; rows of one length are run together."""
        caches, tokens = [], []
        rows = [row[kept == 1] for row, kept in zip(ids, mask, strict=True)]
        for length, alike_long in groupby(rows, key=len):
            together = torch.stack(list(alike_long))
            cache = join([self._cache] * len(together), [len(self)] * len(together))
            if length - 1 > len(self):
                self._after(cache, together[:, len(self) : -1])
            caches.append(cache)
            tokens.append(length - 1)
        return join(caches, tokens)

    def _after(self, cache: Any, ids: torch.Tensor) -> Any:
        """Runs tokens, `[rows, tokens]`, behind those of a cache; returns what is kept of all."""
        options = {} if cache is None else {CACHE_KEYWORD: cache}
        output = self._decoder(input_ids=ids.to(self._device), use_cache=True, **options)
        return getattr(output, CACHE_KEYWORD, None)

    def cache(self, rows: int) -> Any:
        """The prefix's keys and values for each row of a batch, which may be added to and stay as they are here."""
        self.run()
        cache = copy.copy(self._cache)
        cache.layers = [
            RoomyLayer(layer.keys, layer.values, rows) if layer.is_initialized else DynamicLayer()
            for layer in self._cache.layers
        ]
        return cache
