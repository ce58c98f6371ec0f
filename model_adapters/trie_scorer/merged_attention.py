"""Attention over a row of the trie in parts that need no mask, for CPUs.

A softmax over several sets of keys is the softmaxes over each, weighted by their sums of exponentials (FlashAttention's
identity, Dao et al. 2022, arXiv:2205.14135). So queries that all see a run of keys attend to it in one call without a
mask, where the kernel is fastest: questions to the prefix that they share. What is left are keys that not all of them
see, few to a block of queries.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..hosts.torch import attend_on_cpu
from .attention import BLOCK, BlockwiseAttention, ScoreRule
from .masks import LayerMask
from .path_cache import KeyValue
from .trie import Row, TokenTrie, ancestors_within, visible


class _Run(NamedTuple):
    """Consecutive keys, `first <= key < stop`; or queries."""

    first: int
    stop: int

    @property
    def size(self) -> int:
        return self.stop - self.first

    def common(self, other: "_Run") -> "_Run":
        first = max(self.first, other.first)
        return _Run(first, max(first, min(self.stop, other.stop)))


_NOTHING = _Run(0, 0)


@dataclass(frozen=True)
class _Block:
    """Consecutive queries of a row, counted from its start, and which keys they see.

    Attributes:
        queries: The queries.
        chain: Whether each is the parent of the next, and they attend to themselves without a mask.
        path: The path's keys that the first one sees.
        shared_path: Those of them that all see.
        before: The row's earlier keys that the first one sees, `[keys]`.
        shared_before: The longest run of them that all see.
    """

    queries: _Run
    chain: bool
    path: _Run
    shared_path: _Run
    before: NDArray[np.int64]
    shared_before: _Run


@dataclass(frozen=True)
class _Shared:
    """Queries that all see a run of keys.

    Attributes:
        queries: The queries.
        keys: The keys, among the path's or the row's own.
        of_path: Whose they are.
        key_bias: For ALiBi, the depth of each key less the last one's, `[keys]`, float32.
        query_bias: For ALiBi, the last key's depth less that of each query, `[queries]`, float32.
    """

    queries: _Run
    keys: _Run
    of_path: bool
    key_bias: torch.Tensor
    query_bias: torch.Tensor


@dataclass(frozen=True)
class _Own:
    """A block of queries, and the keys that it shares with no other or not all of its queries see.

    Attributes:
        queries: The queries.
        path: Keys of the path.
        nodes: Keys of the row, `[keys]`; None for the queries themselves.
        mask: 0 or, for ALiBi, the depth of the key less the query's; -inf where hidden; `[queries, keys]`, float32.
            None where the keys are the queries, each of which sees those before it.
    """

    queries: _Run
    path: _Run
    nodes: torch.Tensor | None
    mask: torch.Tensor | None


class MergedAttention:
    """What is seen by all of many queries without a mask, the rest in small blocks; merged by log-sum-exp.

    What the kernel does not take is left to `attention.BlockwiseAttention`: layers with windows, softcaps, sinks or
    values of another width, mixed precision, and devices other than the CPU.
    """

    def __init__(self, trie: TokenTrie, row: Row, mask: LayerMask, *, alibi: bool, device: torch.device) -> None:
        """Lays out the parts of a row, once for all layers of one mask."""
        self._laid_out_by = trie, row, mask
        self._alibi, self._device = alibi, device
        self._blockwise: BlockwiseAttention | None = None
        self._shared: list[_Shared] = []
        self._own: list[_Own] = []
        self._serves = mask.plain and device.type == "cpu"
        if self._serves:
            blocks = list(_blocks(trie, row, chains=not alibi))
            paths = list(_groups(blocks, [block.shared_path for block in blocks]))
            befores = list(_groups(blocks, [block.shared_before for block in blocks]))
            self._share(trie, row, paths, of_path=True)
            self._share(trie, row, befores, of_path=False)
            for block in blocks:
                (path,) = (keys for queries, keys in paths if queries.common(block.queries).size)
                (before,) = (keys for queries, keys in befores if queries.common(block.queries).size)
                self._own.append(self._rest(trie, row, block, path, before))

    def _share(self, trie: TokenTrie, row: Row, groups: Sequence[tuple[_Run, _Run]], *, of_path: bool) -> None:
        nodes = np.arange(row.start, row.stop)
        for queries, keys in groups:
            if keys.size:
                key_depth = trie.depth[(row.path if of_path else nodes)[slice(*keys)]]
                query_depth = trie.depth[nodes[slice(*queries)]]
                self._shared.append(
                    _Shared(
                        queries=queries,
                        keys=keys,
                        of_path=of_path,
                        key_bias=torch.from_numpy(key_depth - key_depth[-1]).float(),
                        query_bias=torch.from_numpy(key_depth[-1] - query_depth).float(),
                    )
                )

    def _rest(self, trie: TokenTrie, row: Row, block: _Block, path: _Run, before: _Run) -> _Own:
        """What a block attends to besides the runs that it shares."""
        queries = block.queries
        left = _Run(path.stop, block.path.stop)
        earlier = block.before[(block.before < before.first) | (block.before >= before.stop)]
        if block.chain and not left.size and not len(earlier):
            return _Own(queries, left, None, None)
        nodes = np.concatenate([earlier, np.arange(*queries)])
        keys = np.concatenate([row.path[slice(*left)], row.start + nodes])
        who = row.start + np.arange(*queries)[:, None]
        seen = torch.from_numpy(visible(who, keys, trie.end[keys]))
        distance = torch.from_numpy(trie.depth[keys] - trie.depth[who]) if self._alibi else torch.zeros(seen.shape)
        return _Own(
            queries=queries,
            path=left,
            nodes=torch.from_numpy(nodes) if len(earlier) else None,
            mask=distance.float().masked_fill_(~seen, -torch.inf),
        )

    def __call__(self, query: torch.Tensor, path: KeyValue, nodes: KeyValue, rule: ScoreRule) -> torch.Tensor:
        """See `attention.Attend`."""
        if not self._serves or not _kernel_takes(query, nodes, rule):
            if self._blockwise is None:
                trie, row, mask = self._laid_out_by
                self._blockwise = BlockwiseAttention(trie, row, mask, alibi=self._alibi, device=self._device)
            return self._blockwise(query, path, nodes, rule)
        dtype = query.dtype
        if rule.slopes is not None:  # the bias must meet the scores in float32
            query = query.float()
            path, nodes = KeyValue(*(each.float() for each in path)), KeyValue(*(each.float() for each in nodes))
        _, heads, tokens, dim = query.shape
        precise = torch.promote_types(query.dtype, torch.float32)
        out = query.new_empty(1, tokens, heads, dim, dtype=precise)
        lse = query.new_empty(1, tokens, heads, dtype=precise)
        for own in self._own:
            here = slice(*own.queries)
            out[:, here], lse[:, here] = _attend_to_rest(query, path, nodes, own, rule)
        for shared in self._shared:
            here = slice(*shared.queries)
            theirs, their_lse = _attend_to_shared(query, path if shared.of_path else nodes, shared, rule)
            out[:, here].lerp_(theirs.to(precise), torch.sigmoid(their_lse - lse[:, here])[..., None])
            lse[:, here] = torch.logaddexp(lse[:, here], their_lse)
        return out.to(dtype)


def _kernel_takes(query: torch.Tensor, nodes: KeyValue, rule: ScoreRule) -> bool:
    asks_more = rule.softcap is not None or rule.sinks is not None
    mixed = torch.is_autocast_enabled("cpu") or not query.dtype == nodes.key.dtype == nodes.value.dtype
    return not asks_more and not mixed and query.shape[-1] == nodes.value.shape[-1]


def _blocks(trie: TokenTrie, row: Row, *, chains: bool) -> Iterator[_Block]:
    """Cuts a row in blocks of up to BLOCK queries, and longer chains if wanted."""
    nodes = np.arange(row.start, row.stop)
    start = 0
    branches = np.flatnonzero(trie.parent[nodes[1:]] != nodes[:-1]) + 1
    for first, stop in pairwise([0, *branches.tolist(), len(row)]):
        if not chains or stop - first < 2 * BLOCK:
            continue
        chain = _block(trie, row, _Run(first, stop), chain=True)
        if chain.shared_before.size == len(chain.before):
            yield from _cut(trie, row, _Run(start, first))
            yield chain
            start = stop
    yield from _cut(trie, row, _Run(start, len(row)))


def _cut(trie: TokenTrie, row: Row, queries: _Run) -> Iterator[_Block]:
    for first in range(*queries, BLOCK):
        yield _block(trie, row, _Run(first, min(first + BLOCK, queries.stop)), chain=False)


def _block(trie: TokenTrie, row: Row, queries: _Run, *, chain: bool) -> _Block:
    """Looks up what queries see: of the keys before them, the first sees all that any sees."""
    nodes = np.arange(row.start, row.stop)
    first, last = nodes[queries.first], nodes[queries.stop - 1]
    before = ancestors_within(trie, nodes[: queries.first], first)
    shared = before[visible(last, nodes[before], trie.end[nodes[before]])]
    runs = np.split(shared, np.flatnonzero(np.diff(shared) > 1) + 1)
    longest = max(runs, key=len)
    path_end = trie.end[row.path]
    return _Block(
        queries=queries,
        chain=chain,
        # Ancestors of one node, root first, have ends that fall: what a later node sees of them are the first ones.
        path=_Run(0, int(visible(first, row.path, path_end).sum())),
        shared_path=_Run(0, int(visible(last, row.path, path_end).sum())),
        before=before,
        shared_before=_Run(int(longest[0]), int(longest[-1]) + 1) if len(longest) else _NOTHING,
    )


def _groups(blocks: Sequence[_Block], keys: Sequence[_Run]) -> Iterator[tuple[_Run, _Run]]:
    """Joins consecutive blocks that see about the same keys: the queries, and the keys that all of them see.

    Of what each block sees, a quarter at most is left for its own mask. A chain's keys are left whole, since it has no
    mask. Less than BLOCK keys are not worth a call of their own.
    """
    start, shared, most, alone = 0, keys[0], keys[0].size, blocks[0].chain
    for number in range(1, len(blocks) + 1):
        if number < len(blocks):
            common = shared.common(keys[number])
            most_now = max(most, keys[number].size)
            if not alone and not blocks[number].chain and 4 * common.size >= 3 * most_now:
                shared, most = common, most_now
                continue
        worth = alone or shared.size >= BLOCK
        queries = _Run(blocks[start].queries.first, blocks[number - 1].queries.stop)
        yield queries, shared if worth else _NOTHING
        if number < len(blocks):
            start, shared, most, alone = number, keys[number], keys[number].size, blocks[number].chain


def _attend_to_rest(
    query: torch.Tensor, path: KeyValue, nodes: KeyValue, own: _Own, rule: ScoreRule
) -> tuple[torch.Tensor, torch.Tensor]:
    """`[1, queries, heads, dim]` and the log-sum-exp, `[1, queries, heads]`."""

    def chosen(of_path: torch.Tensor, of_nodes: torch.Tensor) -> torch.Tensor:
        here = of_nodes[:, :, slice(*own.queries)] if own.nodes is None else of_nodes.index_select(2, own.nodes)
        return torch.cat([of_path[:, :, slice(*own.path)], here], dim=2) if own.path.size else here

    bias = own.mask
    if bias is not None:
        bias = bias[None, None] if rule.slopes is None else (rule.slopes[:, None, None] * bias)[None]
    keys = KeyValue(*(chosen(*each) for each in zip(path, nodes, strict=True)))
    return _attend(query[:, :, slice(*own.queries)], keys, rule.scaling, bias, causal=bias is None)


def _attend_to_shared(
    query: torch.Tensor, keys: KeyValue, shared: _Shared, rule: ScoreRule
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_attend_to_rest`.

    Of ALiBi's slope * (key's depth - query's depth), the query's part is the same for all keys: it is not in the
    softmax, only in the log-sum-exp. Depths count from the last key's, as large numbers would lose the small ones.
    """
    keys = KeyValue(*(each[:, :, slice(*shared.keys)] for each in keys))
    bias = None if rule.slopes is None else (rule.slopes[:, None] * shared.key_bias)[None, :, None]
    out, lse = _attend(query[:, :, slice(*shared.queries)], keys, rule.scaling, bias, causal=False)
    return out, lse if rule.slopes is None else lse + shared.query_bias[:, None] * rule.slopes


def _attend(
    query: torch.Tensor, keys: KeyValue, scale: float, bias: torch.Tensor | None, *, causal: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """As `_attend_to_rest`; heads may share keys and values in groups."""
    groups = query.shape[1] // keys.key.shape[1]
    folded = groups > 1 and bias is None and not causal  # then the heads of a group are so many queries of one head
    if folded:
        query = query.unflatten(1, (-1, groups)).flatten(2, 3)
    elif groups > 1:
        keys = KeyValue(*(each.repeat_interleave(groups, dim=1) for each in keys))
    bias = None if bias is None else bias.to(query.dtype)
    out, lse = attend_on_cpu(query, keys.key, keys.value, scale=scale, bias=bias, causal=causal)
    if folded:
        out, lse = (each.unflatten(2, (groups, -1)).flatten(1, 2) for each in (out, lse))
    return out.transpose(1, 2), lse.transpose(1, 2)
