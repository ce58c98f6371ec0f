"""The trie holds every request's tokens once, and nothing else."""

import random
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lm_eval_baichuan.model_adapters.errors import RequestError
from lm_eval_baichuan.model_adapters.trie_scorer.trie import TokenTrie, build_trie, visible

Request = tuple[list[int], list[int]]

# Few ids, so that prefixes, duplicates and prefixes of one another are common.
ids = st.lists(st.integers(0, 2), min_size=1, max_size=6)
requests_of_any_kind = st.lists(st.tuples(ids, ids), max_size=12)


def path_to(trie: TokenTrie, node: int) -> list[int]:
    """The nodes from the root to a node, by the parents."""
    path = []
    while node >= 0:
        path.append(int(node))
        node = trie.parent[node]
    return path[::-1]


def test_a_small_trie_written_out() -> None:
    """Two questions behind one prefix, one asked for two labels, and another prefix."""
    requests: list[Request] = [([5, 6, 8], [1]), ([9], [2]), ([5, 6, 7], [1]), ([5, 6, 8], [3])]
    trie = build_trie(requests)
    assert trie.token.tolist() == [5, 6, 7, 8, 9]
    assert trie.depth.tolist() == [0, 1, 2, 2, 0]
    assert trie.end.tolist() == [4, 4, 3, 4, 5]
    assert trie.parent.tolist() == [-1, 0, 1, 1, -1]
    assert trie.read_node.tolist() == [2, 3, 3, 4]
    assert trie.read_target.tolist() == [1, 1, 3, 2]
    assert trie.read_request.tolist() == [2, 0, 3, 1]
    assert trie.sent_tokens == 3 + 3 + 1  # the two labels of [5, 6, 8] are sent once


def test_the_rule_written_out() -> None:
    """Node 3 (token 8) sees the prefix and itself, not its sibling."""
    trie = build_trie([([5, 6, 8], [1]), ([9], [2]), ([5, 6, 7], [1])])
    nodes = np.arange(len(trie))
    assert visible(nodes[:, None], nodes, trie.end).astype(int).tolist() == [
        [1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0],
        [1, 1, 1, 0, 0],
        [1, 1, 0, 1, 0],
        [0, 0, 0, 0, 1],
    ]


@given(requests_of_any_kind)
def test_every_request_reads_its_continuation_along_its_own_tokens(requests: list[Request]) -> None:
    trie = build_trie(requests)
    for index, (context, continuation) in enumerate(requests):
        reads = np.flatnonzero(trie.read_request == index)
        assert trie.read_target[reads].tolist() == continuation
        path = path_to(trie, trie.read_node[reads[-1]])
        assert trie.token[path].tolist() == context + continuation[:-1]
        assert trie.depth[path].tolist() == list(range(len(path)))
        assert trie.read_node[reads].tolist() == path[len(context) - 1 :]


@given(requests_of_any_kind)
def test_every_distinct_token_stands_once(requests: list[Request]) -> None:
    fed = {tuple(context + continuation[:-1]) for context, continuation in requests}
    prefixes = {sequence[:length] for sequence in fed for length in range(1, len(sequence) + 1)}
    trie = build_trie(requests)
    assert len(trie) == len(prefixes)
    assert trie.sent_tokens == sum(map(len, fed))


@given(requests_of_any_kind)
def test_visible_means_on_the_path_from_the_root(requests: list[Request]) -> None:
    trie = build_trie(requests)
    nodes = np.arange(len(trie))
    seen = visible(nodes[:, None], nodes, trie.end)
    for node in nodes:
        assert np.flatnonzero(seen[node]).tolist() == path_to(trie, node)


@given(requests_of_any_kind, st.randoms(use_true_random=False))
def test_the_order_of_requests_changes_only_their_numbers(requests: list[Request], chance: random.Random) -> None:
    order = list(range(len(requests)))
    chance.shuffle(order)
    trie, shuffled = build_trie(requests), build_trie([requests[index] for index in order])
    for field in ("token", "depth", "end", "parent", "read_node"):
        np.testing.assert_array_equal(getattr(trie, field), getattr(shuffled, field))
    numbers = np.array(order, dtype=int)[shuffled.read_request]
    reads = sorted(zip(trie.read_node, trie.read_target, trie.read_request, strict=True))
    assert reads == sorted(zip(shuffled.read_node, shuffled.read_target, numbers, strict=True))


def test_no_requests_make_an_empty_trie() -> None:
    trie = build_trie([])
    assert len(trie) == trie.sent_tokens == len(trie.read_node) == 0


def test_large_ids_sort_as_numbers() -> None:
    """Ids whose bytes would sort otherwise in little-endian order; 125 695 is Baichuan 2's last."""
    trie = build_trie([([256], [1]), ([1], [1]), ([125695], [1]), ([2**31 - 1], [1])])
    assert trie.token.tolist() == [1, 256, 125695, 2**31 - 1]


def test_arrays_serve_as_ids() -> None:
    request = np.array([1, 2, 3], dtype=np.int64), np.array([4], dtype=np.int64)
    assert build_trie([request]).token.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (([], [1]), "Request 1 has an empty context.*prefix token"),
        (([1], []), "Request 1 has an empty continuation"),
        (([1, 2, 3], [4, 5]), r"Request 1 feeds 4 tokens \(3 of context, 2 of continuation less the last\).*takes 3"),
        (([1, -1], [1]), "Request 1: token ids must be"),
        (([1, 2.5], [1]), "found .*2.5"),
        (([1, 2**31], [1]), "2147483648"),
        (([1, 2**80], [1]), "Request 1: token ids"),
        (([[1, 2]], [1]), "flat list"),
        (("ab", [1]), "found ab"),
        (([True], [1]), "True"),
        (([1], [-7]), "-7"),
        (([1], [0.5]), "0.5"),
    ],
)
def test_bad_requests_are_named(request_: Request, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        build_trie([([1], [1]), request_], max_length=3)


def test_a_request_may_fill_the_window() -> None:
    assert len(build_trie([([1, 2, 3], [4])], max_length=3)) == 3
    assert len(build_trie([([1, 2], [4, 5])], max_length=3)) == 3


def test_a_whole_benchmark_is_built_in_seconds() -> None:
    """Twelve thousand questions of 350 tokens behind 50 prefixes, four labels each."""
    chance = np.random.default_rng(0)
    requests: list[Request] = []
    for subject in range(50):
        prefix = [subject, *chance.integers(0, 64000, 279).tolist()]
        for question in range(240):
            context = [*prefix, question, *chance.integers(0, 64000, 69).tolist()]
            requests += [(context, [label]) for label in (703, 731, 702, 743)]
    tracemalloc.start()
    start = time.process_time()
    trie = build_trie(requests)
    seconds = time.process_time() - start
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(trie) == 50 * (280 + 240 * 70)
    assert trie.sent_tokens == 50 * 240 * 350
    # 0.5 s on one core of 2026 without the tracing, and 60 MB; what grows with the square of anything is far above.
    assert seconds < 15
    assert peak < 150e6
