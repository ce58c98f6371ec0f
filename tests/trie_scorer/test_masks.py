"""A layer's mask, as transformers makes it, becomes the first depth that each token sees; other masks are refused."""

from __future__ import annotations

import pytest
import torch
from transformers.masking_utils import (
    and_masks,
    bidirectional_mask_function,
    causal_mask_function,
    chunked_causal_mask_function,
    or_masks,
    packed_sequence_mask_function,
    sliding_window_bidirectional_mask_function,
    sliding_window_causal_mask_function,
)

from lm_eval_baichuan.model_adapters.errors import UnsupportedModelError
from lm_eval_baichuan.model_adapters.trie_scorer import masks
from lm_eval_baichuan.model_adapters.trie_scorer.masks import LayerMask, layer_mask

NO_PADDING = torch.zeros(1, dtype=torch.int64)


def test_a_causal_mask_sees_from_the_first_token_on() -> None:
    assert LayerMask(causal_mask_function).plain
    assert LayerMask(causal_mask_function).first_seen(3).tolist() == [0, 0, 0]


def test_a_window_sees_its_last_tokens() -> None:
    assert LayerMask(sliding_window_causal_mask_function(3)).first_seen(6).tolist() == [0, 0, 0, 1, 2, 3]


def test_a_chunk_sees_from_its_own_start_on() -> None:
    assert LayerMask(chunked_causal_mask_function(3, NO_PADDING)).first_seen(7).tolist() == [0, 0, 0, 3, 3, 3, 6]


def test_many_depths_are_evaluated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(masks, "_PAIRS", 1000)
    assert LayerMask(sliding_window_causal_mask_function(5)).first_seen(300).tolist() == [0] * 4 + list(range(296))


def test_masks_made_alike_are_equal() -> None:
    """Every forward, and in some models every layer, makes a new one."""
    window = sliding_window_causal_mask_function
    assert LayerMask(window(3)) == LayerMask(window(3))
    assert len({LayerMask(window(3)), LayerMask(window(3)), LayerMask(window(4)), LayerMask()}) == 3
    shifted = chunked_causal_mask_function(3, NO_PADDING + 1)
    assert LayerMask(chunked_causal_mask_function(3, NO_PADDING)) != LayerMask(shifted)


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (bidirectional_mask_function, "later tokens"),
        (sliding_window_bidirectional_mask_function(2), "later tokens"),
        (or_masks(causal_mask_function, lambda b, h, q, k: k == q + 1), "later tokens"),
        (and_masks(causal_mask_function, lambda b, h, q, k: k % 2 == q % 2), "earlier tokens with gaps"),
        (and_masks(causal_mask_function, lambda b, h, q, k: k < q), "earlier tokens with gaps"),
    ],
)
def test_other_attention_is_refused(function: object, message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"attends to {message}.*trie=False"):
        LayerMask(function).first_seen(4)  # type: ignore[arg-type]


def test_a_mask_that_goes_by_places_in_a_batch_is_refused() -> None:
    packed = and_masks(causal_mask_function, packed_sequence_mask_function(torch.tensor([[0, 0, 1, 1]])))
    with pytest.raises(UnsupportedModelError, match="depends on a Tensor.*trie=False"):
        LayerMask(packed)
    with pytest.raises(UnsupportedModelError, match="without the padding"):
        layer_mask(mask_function=causal_mask_function, attention_mask=None)
