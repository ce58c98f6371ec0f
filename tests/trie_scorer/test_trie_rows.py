"""Rows cover the trie once and carry over exactly the path from the root to the cut."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_baichuan.model_adapters.trie_scorer.trie import Row, TokenTrie, ancestors_within, build_trie, cut_row

ids = st.lists(st.integers(0, 1), min_size=1, max_size=8)
tries = st.lists(st.tuples(ids, ids), min_size=1, max_size=12).map(build_trie)


def rows_of(trie: TokenTrie, budget: int) -> list[Row]:
    rows, start, path = [], 0, np.empty(0, dtype=np.int64)
    while start < len(trie):
        row = cut_row(trie, start, path, budget)
        rows.append(row)
        start, path = row.stop, row.keys[row.keep]
    return rows


def ancestors(trie: TokenTrie, node: int) -> list[int]:
    found: list[int] = []
    while (node := int(trie.parent[node])) >= 0:
        found.append(node)
    return found[::-1]


@given(tries, st.integers(1, 20))
def test_rows_cover_every_node_once_in_order(trie: TokenTrie, budget: int) -> None:
    rows = rows_of(trie, budget)
    assert [node for row in rows for node in range(row.start, row.stop)] == list(range(len(trie)))
    assert all(len(row) == budget for row in rows[:-1])
    assert len(rows[-1]) <= budget


@given(tries, st.integers(1, 20))
def test_the_path_of_a_row_is_its_first_nodes_ancestors(trie: TokenTrie, budget: int) -> None:
    rows = rows_of(trie, budget)
    for row in rows:
        assert row.path.tolist() == ancestors(trie, row.start)
    assert rows[-1].keep.tolist() == []


@given(tries)
def test_ancestors_do_not_include_the_node(trie: TokenTrie) -> None:
    nodes = np.arange(len(trie))
    for node in nodes:
        assert ancestors_within(trie, nodes, node).tolist() == ancestors(trie, node)


@given(tries, st.lists(st.integers(1, 9), min_size=40, max_size=40))
def test_the_budget_may_change_between_rows(trie: TokenTrie, budgets: list[int]) -> None:
    """As it does after an out-of-memory."""
    start, path = 0, np.empty(0, dtype=np.int64)
    for budget in budgets:
        if start == len(trie):
            break
        assert path.tolist() == ancestors(trie, start)
        row = cut_row(trie, start, path, budget)
        start, path = row.stop, row.keys[row.keep]


def test_read_outs_of_a_row() -> None:
    trie = build_trie([([1, 2], [3, 4]), ([1, 2, 5], [6])])
    reads = trie.reads_between(1, 3)
    assert trie.read_node[reads].tolist() == [1, 2]
    assert trie.read_target[reads].tolist() == [3, 4]
    assert trie.reads_between(0, 1) == slice(0, 0)


def test_a_budget_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="token budget is 0"):
        cut_row(build_trie([([1], [1])]), 0, np.empty(0, dtype=np.int64), 0)
