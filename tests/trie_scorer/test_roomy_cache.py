"""A cache that has room gives what transformers' own gives, and copies nothing for a token more."""

from __future__ import annotations

import torch
from transformers.cache_utils import DynamicLayer

from lm_eval_baichuan.model_adapters.trie_scorer.roomy_cache import ROOM, RoomyLayer


def states(tokens: int, rows: int = 3) -> torch.Tensor:
    return torch.randn(rows, 2, tokens, 4)


def both(start: int) -> tuple[RoomyLayer, DynamicLayer]:
    keys, values = states(start, 1), states(start, 1)[..., :3]
    plain = DynamicLayer()
    plain.update(keys.expand(3, -1, -1, -1), values.expand(3, -1, -1, -1))
    return RoomyLayer(keys, values, 3), plain


def assert_add_alike(roomy: RoomyLayer, plain: DynamicLayer, tokens: int) -> None:
    keys, values = states(tokens, len(plain.keys)), states(tokens, len(plain.keys))[..., :3]
    for found, expected in zip(roomy.update(keys, values), plain.update(keys, values), strict=True):
        assert torch.equal(found, expected)
    assert roomy.get_seq_length() == plain.get_seq_length()


def test_tokens_are_added_as_transformers_adds_them() -> None:
    roomy, plain = both(5)
    for tokens in (3, 1, 1, ROOM + 2, 1, ROOM, 1):
        assert_add_alike(roomy, plain, tokens)


def test_a_token_more_is_not_worth_a_copy() -> None:
    roomy, plain = both(5)
    assert_add_alike(roomy, plain, 3)
    places = roomy.keys.data_ptr(), roomy.values.data_ptr()
    for _ in range(ROOM):
        assert_add_alike(roomy, plain, 1)
    assert (roomy.keys.data_ptr(), roomy.values.data_ptr()) == places


def test_rows_of_one_beginning_do_not_write_into_each_other() -> None:
    start = states(5, 1)
    kept = start.clone()
    first, second = RoomyLayer(start, start, 3), RoomyLayer(start, start, 2)
    keys = first.update(states(2), states(2))[0].clone()
    second.update(states(4, 2), states(4, 2))
    assert torch.equal(start, kept) and torch.equal(first.keys, keys)


def test_rows_may_be_chosen_and_tokens_dropped_in_between() -> None:
    roomy, plain = both(5)
    assert_add_alike(roomy, plain, 3)
    for layer in (roomy, plain):
        layer.batch_select_indices(torch.tensor([2, 0]))
    assert_add_alike(roomy, plain, 1)
    for layer in (roomy, plain):
        layer.crop(-2)
    assert_add_alike(roomy, plain, 1)
    for layer in (roomy, plain):
        layer.reorder_cache(torch.tensor([1, 1]))
    assert_add_alike(roomy, plain, 2)
