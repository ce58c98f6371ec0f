"""What `generate` gives with its cache is what recomputing the whole sequence at every step gives.

Comparing one generation with another would not do: where the cache is lost, both are wrong in the same way.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from tiny_models import FAMILIES

from lm_eval_baichuan.model_adapters.baichuan import BaichuanForCausalLM
from lm_eval_baichuan.model_adapters.hosts.transformers import CACHE_KEYWORD

STEPS = 12


@torch.no_grad()
def recomputed(model: BaichuanForCausalLM, prompt: list[int]) -> list[int]:
    """Greedy decoding that runs the whole sequence anew for every token."""
    ids = list(prompt)
    for _ in range(STEPS):
        ids.append(int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def generated(model: BaichuanForCausalLM, prompts: list[list[int]]) -> list[list[int]]:
    """The same through `generate`, as one batch padded from the left."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
    mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    options: dict[str, Any] = {"max_new_tokens": STEPS, "do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    return [row.tolist() for row in model.generate(ids, attention_mask=mask, **options)[:, longest:]]


@pytest.fixture
def prompts() -> list[list[int]]:
    """Ragged ones, a single token among them, with the ids of pad, bos and eos inside."""
    chance = random.Random(2)  # noqa: S311 - not cryptography
    return [[chance.randrange(97) for _ in range(length)] for length in (1, 3, 6, 6, 11, 20, 29, 40)]


def test_alone(tiny_model: BaichuanForCausalLM, prompts: list[list[int]]) -> None:
    for prompt in prompts:
        assert generated(tiny_model, [prompt]) == [recomputed(tiny_model, prompt)]


@pytest.mark.parametrize("size", [2, 8])
def test_in_batches_padded_from_the_left(tiny_model: BaichuanForCausalLM, prompts: list[list[int]], size: int) -> None:
    expected = [recomputed(tiny_model, prompt) for prompt in prompts]
    assert len({tuple(tokens) for tokens in expected}) > 4  # else a model that repeats itself would show nothing
    found = [tokens for i in range(0, len(prompts), size) for tokens in generated(tiny_model, prompts[i : i + size])]
    assert found == expected


@torch.no_grad()
@pytest.mark.parametrize("name", ["cache", "past_key_values"])
def test_the_cache_is_taken_under_both_names(tiny_model: BaichuanForCausalLM, name: str) -> None:
    ids = torch.arange(20)[None]
    whole = tiny_model(ids).logits
    start: Any = tiny_model(ids[:, :7], use_cache=True)[CACHE_KEYWORD]
    rest = tiny_model(ids[:, 7:], **{name: start}).logits
    torch.testing.assert_close(rest, whole[:, 7:], atol=1e-4, rtol=1e-4)


def test_two_caches_are_refused(tiny_model: BaichuanForCausalLM) -> None:
    ids = torch.arange(5)[None]
    start: Any = tiny_model(ids, use_cache=True)[CACHE_KEYWORD]
    with pytest.raises(ValueError, match="cache and past_key_values are two names"):
        tiny_model(ids, cache=start, past_key_values=start)


@pytest.mark.parametrize("keyword", ["key_value_cache", "cache_position", "sliding_window"])
def test_an_unknown_keyword_is_refused_by_name(tiny_model: BaichuanForCausalLM, keyword: str) -> None:
    for module in (tiny_model, tiny_model.model):
        with pytest.raises(TypeError, match=keyword):
            module(torch.arange(5)[None], **{keyword: None})


@pytest.mark.parametrize(
    "request_", [{"output_attentions": True}, {"output_hidden_states": True}, {"return_dict": False}]
)
def test_what_is_not_computed_is_refused_by_name(tiny_model: BaichuanForCausalLM, request_: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=next(iter(request_))):
        tiny_model(torch.arange(5)[None], **request_)


def test_all_four_families_are_here() -> None:
    assert len(FAMILIES) == 4
