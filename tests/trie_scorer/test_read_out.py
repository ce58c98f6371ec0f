"""The decoder runs once a row, and what stands after it as often as the read-outs have parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tiny_families import tiny_model
from torch import nn

from lm_eval_baichuan.model_adapters.errors import UnsupportedModelError
from lm_eval_baichuan.model_adapters.trie_scorer import TrieScorer, read_out, score_one_by_one
from lm_eval_baichuan.model_adapters.trie_scorer.read_out import logits_in_parts

IDS = torch.arange(3, 23)[None]
INPUTS = {"input_ids": IDS, "position_ids": torch.arange(20)[None], "use_cache": False}


def count_calls(module: nn.Module) -> list[int]:
    """The tokens of each call of a module from now on."""
    tokens: list[int] = []
    module.register_forward_hook(lambda module, args, output: tokens.append(output.shape[1]))
    return tokens


@pytest.mark.parametrize("family", ["cohere", "gemma2", "phi", "gpt2"])  # scaled, softcapped, with a bias, plain
def test_logits_in_parts_are_the_models_own(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_out, "HEAD_ROWS", 3)
    model = tiny_model(family)
    nodes = torch.tensor([0, 1, 5, 6, 7, 18, 19])
    with torch.inference_mode():
        expected = model(**INPUTS).logits[0, nodes]
        decoder = model.get_decoder()
        embedded, read = count_calls(model.get_input_embeddings()), count_calls(model.get_output_embeddings())
        parts = list(logits_in_parts(model, decoder, INPUTS, nodes))
    assert [len(part) for part in parts] == [3, 3, 1] == read
    assert embedded == [20]
    torch.testing.assert_close(torch.cat(parts), expected)
    assert "forward" not in vars(decoder)


@pytest.mark.parametrize(("asked", "computed"), [(1, 1), (4, 4), (5, 16), (15, 16), (16, 16), (17, 17)])
def test_the_head_computes_16_rows_where_fewer_take_longer(asked: int, computed: int) -> None:
    model = tiny_model("llama")
    nodes = torch.arange(20)[-asked:]
    with torch.inference_mode():
        expected = model(**INPUTS).logits[0, nodes]
        read = count_calls(model.get_output_embeddings())
        (part,) = logits_in_parts(model, model.get_decoder(), INPUTS, nodes)
    assert read == [computed]
    torch.testing.assert_close(part, expected)


def test_a_row_is_run_even_if_nothing_is_read() -> None:
    model = tiny_model("llama")
    embedded = count_calls(model.get_input_embeddings())
    list(logits_in_parts(model, model.get_decoder(), INPUTS, torch.zeros(0, dtype=torch.int64)))
    assert embedded == [20]


def test_scores_do_not_depend_on_the_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model("gemma2")
    requests = [([5, 6, 7], list(range(8, 30))), ([5, 6, 9], list(range(40, 55)))]
    monkeypatch.setattr(read_out, "HEAD_ROWS", 4)
    found = [score.logprob for score in sorted(TrieScorer(model, max_length=64, token_budget=16).score(requests))]
    assert found == pytest.approx([logprob for logprob, _ in score_one_by_one(model, requests)], abs=1e-4, rel=0)


def test_a_hook_around_the_decoder_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    """As accelerate leaves on modules that lie on several devices."""
    model = tiny_model("llama")
    forward = model.model.forward
    calls = []

    def hooked(*args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        return forward(*args, **kwargs)

    model.model.forward = hooked
    list(logits_in_parts(model, model.model, INPUTS, torch.arange(2)))
    assert calls == [1]
    assert model.model.forward is hooked


def test_a_model_that_reads_out_of_something_else_is_refused() -> None:
    model = tiny_model("llama")
    with pytest.raises(UnsupportedModelError, match="makes no logits of what its GPT2Model.*trie=False"):
        list(logits_in_parts(model, tiny_model("gpt2").transformer, INPUTS, torch.arange(2)))
