"""Rows: runs of depth-first nodes that fit a token budget, and what each needs from before."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .build import TokenTrie
from .rule import visible


@dataclass(frozen=True)
class Row:
    """The nodes `start <= node < stop`, run in one forward pass.

    Its keys are `[path | nodes]`: the path from the root to the cut, whose keys and values are kept from earlier rows,
    and the row's own nodes. What the next row needs is among those same keys, at `keep`.

    Attributes:
        start: First node.
        stop: One past the last node.
        path: The ancestors of `start`, root first, `[path]`, int64.
        keep: Where the ancestors of `stop` stand among `[path | nodes]`, root first, `[kept]`, int64.
    """

    start: int
    stop: int
    path: NDArray[np.int64]
    keep: NDArray[np.int64]

    def __len__(self) -> int:
        """The number of nodes run."""
        return self.stop - self.start

    @property
    def keys(self) -> NDArray[np.int64]:
        """The nodes of all keys, ascending, `[path + nodes]`."""
        return np.concatenate([self.path, np.arange(self.start, self.stop)])


def ancestors_within(trie: TokenTrie, keys: NDArray[np.int64], node: int) -> NDArray[np.int64]:
    """Where the ancestors of a node stand among keys that hold them all.

    Args:
        trie: The trie.
        keys: Ascending nodes, `[keys]`, that hold every ancestor of `node`.
        node: Any node, or `len(trie)`, which has no ancestors.

    Returns:
        Indices into `keys`, root first, `[ancestors]`, int64.
    """
    return np.flatnonzero(visible(node, keys, trie.end[keys]) & (keys != node))


def cut_row(trie: TokenTrie, start: int, path: NDArray[np.int64], budget: int) -> Row:
    """The next row: as many nodes from `start` on as the budget allows.

    Ancestors of a node past the row that lie before the row are ancestors of the row's first node too, so the path and
    the row hold everything a later row may ask for; nothing else needs keeping, whatever the number of requests.

    Args:
        trie: The trie.
        start: First node of the row.
        path: The ancestors of `start`, root first; `row.keys[row.keep]` of the row before, empty at the beginning.
        budget: The most nodes in the row, at least 1.

    Returns:
        The row.
    """
    if budget < 1:
        raise ValueError(f"token budget is {budget}; a row needs at least 1 token")
    stop = min(start + budget, len(trie))
    keys = np.concatenate([path, np.arange(start, stop)])
    return Row(start=start, stop=stop, path=path, keep=ancestors_within(trie, keys, stop))
