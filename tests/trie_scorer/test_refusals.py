"""What the trie cannot serve is refused when a scorer is made, with the reason and the way round."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tiny_families
import torch
from tiny_families import LONGEST, WINDOW, tiny_model
from torch import nn
from transformers import PreTrainedModel, T5Config, T5ForConditionalGeneration

from lm_eval_baichuan.model_adapters.errors import UnsupportedModelError
from lm_eval_baichuan.model_adapters.hosts.transformers import attention_configs, attention_name
from lm_eval_baichuan.model_adapters.trie_scorer import TrieScorer
from lm_eval_baichuan.model_adapters.trie_scorer.merged_attention import MergedAttention
from lm_eval_baichuan.model_adapters.trie_scorer.path_cache import PathCache
from lm_eval_baichuan.model_adapters.trie_scorer.refusals import same_rope_up_to
from lm_eval_baichuan.model_adapters.trie_scorer.row_attention import (
    ATTENTION_NAME,
    RowAttention,
    running,
    trie_attention,
)
from lm_eval_baichuan.model_adapters.trie_scorer.trie import build_trie, cut_row

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def scorer(model: PreTrainedModel, **options: Any) -> TrieScorer:
    return TrieScorer(model, **{"max_length": LONGEST, "token_budget": 64, **options})


def attend(nodes: int = 3, keys: int = 3, mask: Any = None, module: nn.Module | None = None, **asked: Any) -> Any:
    """One attention call over a row of three tokens."""
    trie = build_trie([([1, 2, 3], [1])])
    row = cut_row(trie, 0, np.empty(0, dtype=np.int64), 9)
    query, key, value = torch.randn(1, 4, nodes, 8), torch.randn(1, 2, keys, 8), torch.randn(1, 2, keys, 6)
    with running(RowAttention(MergedAttention, trie, row, PathCache(), alibi=False)):
        return trie_attention(module or nn.Module(), query, key, value, mask, **asked)[0]


def test_what_is_served() -> None:
    assert attend(scaling=1.0, dropout=0.0, sliding_window=4, softcap=3.0, s_aux=torch.zeros(4)).shape == (1, 3, 4, 6)
    assert attend(position_bias=None, output_router_logits=False).shape == (1, 3, 4, 6)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"position_bias": torch.zeros(1)}, "asks for position_bias"),
        ({"indices": torch.zeros(1), "block_table": 1}, "asks for block_table, indices"),
        ({"mask": torch.zeros(1, 1, 3, 3)}, "asks for a finished mask"),
        ({"is_causal": False}, "asks for attention to later tokens"),
        ({"dropout": 0.1}, "asks for dropout"),
        ({"keys": 5}, "from 3 queries to 5 keys in a row of 3 tokens"),
        ({"nodes": 2}, "from 2 queries to 3 keys in a row of 3 tokens"),
    ],
)
def test_an_attention_call_that_asks_for_more_is_refused(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"{message}.*trie=False"):
        attend(**asked)


def test_a_layer_that_is_not_causal_is_refused_where_its_model_makes_no_mask() -> None:
    module = nn.Module()
    module.is_causal = False  # type: ignore[assignment]
    with pytest.raises(UnsupportedModelError, match="later tokens"):
        attend(module=module)


class Silent(nn.Module):
    """Attention that asks nobody."""

    def forward(self, hidden_states: torch.Tensor, **_: Any) -> tuple[torch.Tensor, None]:
        return hidden_states, None


def test_a_model_that_never_attends_is_refused() -> None:
    model = tiny_model("llama")
    for layer in model.model.layers:
        layer.self_attn = Silent()
    with pytest.raises(UnsupportedModelError, match="attends 0 times.*trie=False"):
        scorer(model)


def test_what_does_not_run_by_the_trie_is_refused_with_its_own_error(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    mlp = model.model.layers[1].mlp
    forward = mlp.forward

    def picky(hidden: torch.Tensor) -> torch.Tensor:
        if attention_name(model) == ATTENTION_NAME:
            raise TypeError("not so")
        return forward(hidden)

    monkeypatch.setattr(mlp, "forward", picky)
    with pytest.raises(UnsupportedModelError, match="LlamaForCausalLM does not run.*TypeError") as caught:
        scorer(model)
    assert isinstance(caught.value.__cause__, TypeError)


def test_what_does_not_run_at_all_is_not_blamed_on_the_trie() -> None:
    model = tiny_model("llama")
    model.model.layers[1].mlp = None
    with pytest.raises(TypeError, match="not callable"):  # "Use trie=False" would lead nowhere
        scorer(model)


def test_a_decoder_without_the_positions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("llama")
    forward = model.model.forward
    monkeypatch.setattr(model.model, "forward", lambda *args, position_ids=None, **kwargs: forward(*args, **kwargs))
    own = model.forward
    monkeypatch.setattr(model, "forward", lambda position_ids=None, **kwargs: own(**kwargs))
    with pytest.raises(UnsupportedModelError, match="is not handed the positions"):
        scorer(model)


def test_an_encoder_decoder_is_refused() -> None:
    with torch.device("meta"):
        model = T5ForConditionalGeneration(T5Config(d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2))
    with pytest.raises(UnsupportedModelError, match="T5ForConditionalGeneration is an encoder-decoder.*trie=False"):
        scorer(model)


@pytest.mark.parametrize("family", ["llama, dynamic", "phi3, longrope"])
def test_rope_that_depends_on_the_length_is_served_within_its_own_window(
    family: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(
        tiny_families.SPECIAL,
        family,
        tiny_families.SPECIAL[family] | {"max_position_embeddings": 48, "original_max_position_embeddings": 48},
    )
    if family.startswith("llama"):
        del tiny_families.SPECIAL[family]["original_max_position_embeddings"]
    served = scorer(tiny_model(family))
    assert served.same_rope_up_to == 48
    assert len(list(served.score([([1] * 48, [1])]))) == 1
    with pytest.raises(UnsupportedModelError, match="feeds 49 tokens; beyond 48.*trie=False"):
        list(served.score([([1] * 49, [1])]))


def test_rope_of_each_kind_of_layer_is_looked_at() -> None:
    model = tiny_model("gemma3_text")
    assert same_rope_up_to(model) is None
    model.config.rope_parameters["full_attention"] |= {"rope_type": "longrope", "original_max_position_embeddings": 7}
    assert same_rope_up_to(model) == 7


def test_a_refused_model_is_left_as_it_was() -> None:
    model = tiny_model("doge")
    before = [config._attn_implementation for config in attention_configs(model)]
    with pytest.raises(UnsupportedModelError, match="DogeForCausalLM does not run"):
        scorer(model)
    assert [config._attn_implementation for config in attention_configs(model)] == before
    assert "forward" not in vars(model.model)
    assert model(input_ids=torch.arange(WINDOW)[None]).logits.shape == (1, WINDOW, tiny_families.VOCABULARY)
