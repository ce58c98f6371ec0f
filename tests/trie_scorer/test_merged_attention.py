"""The parts of a row's attention: every pair once, no mask where none is needed; and their merging."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lm_eval_baichuan.model_adapters.trie_scorer import merged_attention
from lm_eval_baichuan.model_adapters.trie_scorer.attention import DenseAttention, ScoreRule
from lm_eval_baichuan.model_adapters.trie_scorer.masks import LayerMask
from lm_eval_baichuan.model_adapters.trie_scorer.merged_attention import MergedAttention
from lm_eval_baichuan.model_adapters.trie_scorer.path_cache import KeyValue, PathCache
from lm_eval_baichuan.model_adapters.trie_scorer.trie import Row, TokenTrie, build_trie, cut_row, visible

CPU = torch.device("cpu")
ids = st.lists(st.integers(0, 1), min_size=1, max_size=9)
long_ids = st.tuples(ids, st.integers(1, 6)).map(lambda parts: parts[0] * parts[1])
tries = st.lists(st.tuples(long_ids, ids), min_size=1, max_size=14).map(build_trie)


def rows_of(trie: TokenTrie, budget: int) -> Iterator[Row]:
    start, path = 0, np.empty(0, dtype=np.int64)
    while start < len(trie):
        row = cut_row(trie, start, path, budget)
        yield row
        start, path = row.stop, row.keys[row.keep]


def laid_out(trie: TokenTrie, row: Row, *, alibi: bool) -> MergedAttention:
    return MergedAttention(trie, row, LayerMask(), alibi=alibi, device=CPU)


def pairs_of(trie: TokenTrie, row: Row, *, alibi: bool) -> Counter[tuple[int, int]]:
    """Which query attends to which key in all parts together, both counted in the trie."""
    attention = laid_out(trie, row, alibi=alibi)
    nodes = np.arange(row.start, row.stop)
    pairs: Counter[tuple[int, int]] = Counter()
    for shared in attention._shared:
        keys = (row.path if shared.of_path else nodes)[slice(*shared.keys)]
        pairs.update((query, key) for query in nodes[slice(*shared.queries)].tolist() for key in keys.tolist())
    for own in attention._own:
        queries = nodes[slice(*own.queries)]
        chosen = queries if own.nodes is None else nodes[own.nodes.numpy()]
        keys = np.concatenate([row.path[slice(*own.path)], chosen])
        seen = np.tri(len(queries), dtype=bool) if own.mask is None else own.mask.isfinite().numpy()
        pairs.update((int(queries[q]), int(keys[k])) for q, k in zip(*np.nonzero(seen), strict=True))
    return pairs


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trie=tries, budget=st.integers(1, 40), block=st.sampled_from([1, 2, 3, 5, 16]), alibi=st.booleans())
def test_every_visible_pair_is_in_one_part(
    trie: TokenTrie, budget: int, block: int, alibi: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merged_attention, "BLOCK", block)
    for row in rows_of(trie, budget):
        keys = row.keys
        seen = {
            (query, int(key))
            for query in range(row.start, row.stop)
            for key in keys[visible(query, keys, trie.end[keys])]
        }
        pairs = pairs_of(trie, row, alibi=alibi)
        assert set(pairs) == seen
        assert set(pairs.values()) == {1}


def questions(prefix: int, count: int, length: int = 70) -> TokenTrie:
    chance = random.Random(0)  # noqa: S311 - not cryptography
    return build_trie(
        [
            ([*range(100, 100 + prefix), number, *(chance.randrange(100) for _ in range(length - 1))], [1])
            for number in range(count)
        ]
    )


@pytest.mark.parametrize("alibi", [False, True])
def test_questions_attend_to_their_prefix_in_one_call(alibi: bool) -> None:
    trie = questions(500, 30)
    first, *others = rows_of(trie, 1024)
    shared = laid_out(trie, first, alibi=alibi)._shared[-1]  # the prefix is the row's own here
    assert (shared.of_path, shared.queries.stop, shared.keys.first) == (False, 1024, 0)
    assert shared.keys.stop == (384 if alibi else 500)  # a block of the prefix's end, with a mask where ALiBi needs one
    for row in others:
        (shared,) = laid_out(trie, row, alibi=alibi)._shared
        assert (shared.of_path, shared.queries, shared.keys) == (True, (0, len(row)), (0, 500))


def test_a_chain_needs_no_mask() -> None:
    trie = questions(1978, 1)
    for row in rows_of(trie, 1024):
        assert [own.mask for own in laid_out(trie, row, alibi=False)._own] == [None]


def merged_and_dense(trie: TokenTrie, row: Row, rule: ScoreRule, heads: tuple[int, int]) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    alibi = rule.slopes is not None
    query = torch.randn(1, heads[0], len(row), 16)
    path, nodes = (KeyValue(*torch.randn(2, 1, heads[1], tokens, 16)) for tokens in (len(row.path), len(row)))
    dense = DenseAttention(trie, row, LayerMask(), alibi=alibi, device=CPU)
    return laid_out(trie, row, alibi=alibi)(query, path, nodes, rule), dense(query, path, nodes, rule)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2), (6, 1)])
@pytest.mark.parametrize("alibi", [False, True])
def test_heads_may_share_keys(heads: tuple[int, int], alibi: bool) -> None:
    slopes = torch.tensor([2.0**-n for n in range(1, heads[0] + 1)]) if alibi else None
    trie = questions(400, 9)
    for row in rows_of(trie, 300):
        found, expected = merged_and_dense(trie, row, ScoreRule(0.25, slopes), heads)
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_steep_slopes_over_long_paths_stay_exact() -> None:
    """Slope times position is 3400 at the end of a path of 4000, where float32 has steps of 0.0002."""
    trie = questions(4000, 9)
    rule = ScoreRule(1.0, torch.tensor([0.85, 0.01, 0.0001]))
    *_, row = rows_of(trie, 1024)
    found, expected = merged_and_dense(trie, row, rule, (3, 3))
    torch.testing.assert_close(found, expected, atol=3e-6, rtol=0)


def test_double_precision_stays_double() -> None:
    torch.manual_seed(0)
    trie = questions(400, 9)
    *_, row = rows_of(trie, 300)
    query = torch.randn(1, 2, len(row), 16, dtype=torch.float64)
    path, nodes = (KeyValue(*torch.randn(2, 1, 2, n, 16, dtype=torch.float64)) for n in (len(row.path), len(row)))
    dense = DenseAttention(trie, row, LayerMask(), alibi=False, device=CPU)(query, path, nodes, ScoreRule(0.25))
    found = laid_out(trie, row, alibi=False)(query, path, nodes, ScoreRule(0.25))
    torch.testing.assert_close(found, dense, atol=1e-12, rtol=0)


def test_the_path_is_not_copied_from_row_to_row() -> None:
    cache = PathCache()

    def row(tokens: int, stay: int, added: list[int]) -> KeyValue:
        nodes = KeyValue(*torch.randn(2, 1, 3, tokens, 4))
        path = cache.extend(0, nodes, stay, torch.tensor(added, dtype=torch.int64))
        cache.commit()
        return KeyValue(path.key, nodes.key)

    _, first = row(100, 0, list(range(90)))
    path, second = row(50, 80, [1, 3])
    again, _ = row(50, 82, [])
    assert again.data_ptr() == path.data_ptr()
    assert torch.equal(again, torch.cat([first[:, :, :80], second[:, :, [1, 3]]], dim=2))


def test_a_row_that_failed_leaves_the_path_as_it_was() -> None:
    cache = PathCache()
    first = KeyValue(*torch.randn(2, 1, 3, 20, 4))
    cache.extend(0, first, 0, torch.arange(20))
    cache.commit()
    for tokens in (500, 3):  # with and without new memory
        other = KeyValue(*torch.randn(2, 1, 3, tokens, 4))
        cache.extend(0, other, 1, torch.arange(tokens))
        cache.discard()
        path = cache.extend(0, other, 20, torch.arange(0))
        cache.discard()
        assert torch.equal(path.key, first.key)
        assert torch.equal(path.value, first.value)
